"""Files that are written atomically."""

import os
from contextlib import suppress
from pathlib import Path

from plainres.errors import UserError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file atomically: after a crash it has either its old contents or all of the new ones.

    Args:
        path: File to write. Its folder is created if necessary.
        content: Contents, text being encoded in UTF-8.

    Raises:
        UserError: If the file cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
