"""A search of hyperparameters: trials are fits of their own, run by Ray Tune."""
