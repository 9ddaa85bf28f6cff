"""What a run reads and writes: its configuration, folder, checkpoints and records."""
