"""What is said about models and machines, as data; the command line prints it."""
