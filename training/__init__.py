"""Training: the step, the state of a run, checkpoints, schedulers, and the monitor."""
