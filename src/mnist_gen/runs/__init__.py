"""A run: the command that starts it, its configuration and folder, and what it writes into that."""
