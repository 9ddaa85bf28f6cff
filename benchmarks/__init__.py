"""Measurements of the project, as commands: quality, speed, faults. `records/` holds what they found."""
