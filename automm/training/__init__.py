"""The training loop: a list of steps in ``fit``, Lightning under it."""
