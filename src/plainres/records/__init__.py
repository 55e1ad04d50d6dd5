"""The folders of runs below a results folder, which `record` and `frames` read without PyTorch."""
