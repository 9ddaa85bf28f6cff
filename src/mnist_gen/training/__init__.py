"""What all LightningModules share: losses, schedules, checkpoints, curves."""
