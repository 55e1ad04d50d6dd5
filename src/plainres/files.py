"""Paths that a user gives, files that are written atomically, and JSON files that may be damaged."""

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from plainres.errors import UserError


def expand_user(path: str | Path) -> Path:
    """Return a path in which `~` or `~user` at the beginning stands for a home folder.

    Raises:
        UserError: If there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: there is no home folder of {Path(path).parts[0]}") from None


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file atomically: after a crash it has either its old contents or all of the new ones.

    Several processes may write the same file at the same time. It then has the contents of the last one to finish. Its
    folder is created if necessary. Text is encoded in UTF-8.

    Raises:
        UserError: If the file cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
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


def read_json(path: Path) -> Any:
    """Return the contents of a JSON file.

    Raises:
        UserError: If the file is absent, unreadable or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable JSON file ({error}); restore it or move it away") from None
