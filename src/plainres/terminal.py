"""Figures in the terminal, where it can show images."""

import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console


def show_figure(path: Path) -> bool:
    """Show a PNG file in the terminal, and return whether that was possible.

    It is possible with the extra `terminal`, on a terminal that supports kitty's graphics protocol or Sixel, such as
    kitty, iTerm2, WezTerm, foot, or the terminal of VS Code. The terminal is asked whether it does.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty() and os.get_terminal_size().columns):
        return False
    if find_spec("textual_image") is None:
        return False
    logging.getLogger("textual_image").setLevel(logging.ERROR)
    from textual_image.renderable import Image, SixelImage, TGPImage

    if Image not in (SixelImage, TGPImage):
        return False
    Console().print(Image(path))
    return True
