"""Stopping on a signal with nothing lost."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from plainres.training.distributed import all_reduce_max, get_rank_info


class Stopped(Exception):
    """A run ended early because a signal asked for it, with its checkpoint written.

    Attributes:
        exit_status: what the process should exit with, 128 and the signal's number.
    """

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.exit_status = 128 + signum


class StopRequest:
    """While entered, remembers the first SIGINT, SIGTERM or SIGUSR1 (SLURM's warning) instead of dying of it.

    A second SIGINT ends the process at once. Outside the main thread, where Python takes no signals, it does nothing.

    Args:
        forward: called with each signal that comes, to pass it on.

    Attributes:
        signum: the first signal that came, None while there was none.
        agreed: the signal that all of a run's processes stop for; `synchronize` sets it.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def __init__(self, forward: Callable[[int], None] | None = None) -> None:
        self.signum: int | None = None
        self.agreed: int | None = None
        self.forward = forward

    def __enter__(self) -> "StopRequest":
        self._previous = self.install_handlers()
        return self

    def install_handlers(self) -> dict:
        """Have the signals come here; returns who had them, none outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {signum: signal.signal(signum, self._remember) for signum in self.SIGNALS}

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _remember(self, signum: int, _frame: FrameType | None) -> None:
        if self.forward:
            self.forward(signum)
        if self.signum is not None and signum == signal.SIGINT:
            os._exit(128 + signum)
        self.signum = self.signum or signum
        if get_rank_info().rank:
            return
        # Not print: a handler may run inside one.
        os.write(
            2, f"\n{signal.Signals(signum).name}: finishing the step, then stopping (Ctrl-C stops at once)\n".encode()
        )

    def synchronize(self, due: bool = False) -> bool:
        """Have a signal that came to any of a run's processes count for all of them from here on.

        Returns:
            whether `due` is so on any of them.
        """
        any_due, signum = all_reduce_max(int(due), self.signum or 0)
        self.agreed = signum or None
        return bool(any_due)

    def raise_if_stopped(self, where: str) -> None:
        """Raise `Stopped` if a signal was agreed on; `where` says how far the run is."""
        if self.agreed is not None:
            raise Stopped(f"stopped by {signal.Signals(self.agreed).name}, {where}", self.agreed)
