"""The time per training iteration, compared with a stock Lightning loop: `python -m plainres.bench`."""
