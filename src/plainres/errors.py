"""The exception whose message is meant for the user."""


class UserError(ValueError):
    """A mistake that the user can correct. Commands print its message in one line and exit with a non-zero status."""
