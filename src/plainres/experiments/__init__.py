"""The experiments that the command `plainres` has; `experiments/` in the repository has one script per question."""
