"""Which loops should run here, and the child processes that run them. Runs no user code and imports none."""
