"""The one exception whose message is meant for the user."""


class UserError(ValueError):
    """A mistake that the user can mend: commands print its one line and exit non-zero, without a traceback."""
