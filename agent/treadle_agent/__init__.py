"""The agent daemon: runs the loops that the controller assigns to this host."""
