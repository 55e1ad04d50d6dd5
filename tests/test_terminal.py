"""Figures in a terminal: shown where the terminal says that it supports Sixel, and nowhere else."""

import os
import pty
import subprocess
import sys
import termios
import tty
from contextlib import suppress

import pytest
from PIL import Image

pytest.importorskip("textual_image", reason="needs the extra `terminal`")
CODE = """
import sys
from pathlib import Path
from plainres.terminal import show_figure
print(show_figure(Path(sys.argv[1])))
"""


def printed_in_a_terminal(path, attributes):
    """Run `show_figure` in a pseudo-terminal with these features, and return what it printed."""
    terminal, child_side = pty.openpty()
    tty.setraw(child_side)
    termios.tcsetwinsize(child_side, (24, 80))
    # The answer to the question for the terminal's features is there beforehand, so that it cannot come too late.
    os.write(terminal, attributes)
    with subprocess.Popen([sys.executable, "-c", CODE, str(path)], stdin=child_side, stdout=child_side) as child:
        os.close(child_side)
        printed = b""
        with suppress(OSError):  # raised when the child has closed its side
            while part := os.read(terminal, 65536):
                printed += part
    os.close(terminal)
    assert child.returncode == 0
    return printed


@pytest.fixture
def figure(tmp_path):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "figure.png")
    return tmp_path / "figure.png"


def test_terminal_with_sixel_shows_the_figure(figure):
    printed = printed_in_a_terminal(figure, b"\x1b[?62;4c")
    assert b"\x1bP" in printed and printed.rstrip().endswith(b"True")


def test_terminal_without_images_shows_none(figure):
    printed = printed_in_a_terminal(figure, b"\x1b[?62c")
    assert b"\x1bP" not in printed and printed.rstrip().endswith(b"False")


def test_nothing_is_shown_in_a_pipe(figure):
    done = subprocess.run([sys.executable, "-c", CODE, str(figure)], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
