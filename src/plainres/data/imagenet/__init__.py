"""Folders of photographs that are decoded while training: ILSVRC-2012 and others like it."""
