"""Data sets of small images that are kept in memory: CIFAR-10, CIFAR-100 and the demo set."""
