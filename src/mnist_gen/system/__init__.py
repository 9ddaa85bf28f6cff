"""What the operating system can do to a run: full disks, other processes, signals."""
