"""Sets of small images that are kept in memory as a whole: CIFAR-10, CIFAR-100 and the demo set."""
