"""The folders of runs below a results folder: `run` reads them without PyTorch, and `audit` checks them."""
