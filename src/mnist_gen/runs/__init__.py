"""A run: the command that starts it, its configuration, its folder and its files."""
