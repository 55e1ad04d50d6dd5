"""What all commands have in common: messages of errors."""

import pytest

from plainres.errors import first_line


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  one \n"), "one"),
        (TimeoutError(), "TimeoutError"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_every_error_has_a_first_line(error, expected):
    assert first_line(error) == expected
