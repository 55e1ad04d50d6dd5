"""The exception whose message is meant for the user, a check that raises it, and messages of other exceptions."""

from collections.abc import Collection


class UserError(ValueError):
    """A mistake that the user can correct. Commands print its message in one line and exit with a non-zero status."""


def require_one_of(name: str, value: object, options: Collection[object]) -> None:
    """Check that a value is one of the options.

    Args:
        name: What the value is, for the message.
        value: The value.
        options: What it may be. The message lists them, None as "none", which is how the command line spells it.

    Raises:
        UserError: If the value is none of the options.
    """
    if value not in options:
        hint = " (pass None instead of the string 'none')" if value == "none" and None in options else ""
        known = ", ".join(str(option or "none") for option in options)
        raise UserError(f"{name} must be one of {known}, not {value}{hint}")


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an exception, or the name of its type if it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
