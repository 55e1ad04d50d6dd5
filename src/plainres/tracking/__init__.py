"""Weights & Biases: runs while they train, a backfill from their records, and a dashboard as code."""
