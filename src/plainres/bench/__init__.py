"""What an iteration costs, against a stock Lightning loop: `python -m plainres.bench`."""
