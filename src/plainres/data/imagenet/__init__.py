"""Data sets of photographs that are decoded during training: ILSVRC-2012 and folders with the same layout."""
