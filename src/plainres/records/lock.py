"""A lock that lets only one process at a time train a run, and that is released if the process dies."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from plainres.errors import UserError
from plainres.files import write_atomic
from plainres.records.config import RunConfig


class Busy(UserError):
    """Another process is training the run."""


@contextmanager
def exclusive_writer(results: Path, config: RunConfig) -> Iterator[None]:
    """Hold the lock of a run, a file in `results/.locks` that the system unlocks if the process ends in whatever way.

    Raises:
        Busy: If another process holds the lock. The message names the process, its host and its start.
        UserError: If the results folder cannot be written.
    """
    path = results / ".locks" / ("-".join(config.folder.parts) + ".lock")
    holder = path.with_suffix(".json")
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        try:
            by = "process {process} on {host} since {since}".format(**json.loads(holder.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError):  # the other process has not written the file yet
            by = "another process"
        raise Busy(f"{results / config.folder} is being trained by {by}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be locked ({error.strerror or error})") from None
    try:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        write_atomic(holder, json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": now}))
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def is_being_trained(results: Path, config: RunConfig) -> bool:
    """Return whether a process holds the lock of a run. For the moment of the question, this process may hold it."""
    try:
        with exclusive_writer(results, config):
            return False
    except Busy:
        return True
