"""Stopping a run on a signal, after its checkpoint has been written."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from plainres.training.distributed import all_reduce_max, get_rank_info


class Stopped(Exception):
    """A signal ended a run early. Unless it had ended or failed, its checkpoint has been written."""

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.exit_status = 128 + signum


class StopRequest:
    """A context manager that remembers the first SIGINT, SIGTERM or SIGUSR1 instead of ending the process.

    SLURM can send SIGUSR1 before it ends a job. A second SIGINT ends the process at once. Outside the main thread,
    where Python handles no signals, the context manager has no effect. `forward` is called with each signal.

    Attributes:
        signum: Number of the first signal that arrived, or None.
        agreed: Number of the signal that all processes of the run stop for, or None. `synchronize` sets it.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def __init__(self, forward: Callable[[int], None] | None = None) -> None:
        self.signum: int | None = None
        self.agreed: int | None = None
        self.forward = forward
        self.process = os.getpid()

    def __enter__(self) -> "StopRequest":
        self._previous = self.install_handlers()
        return self

    def install_handlers(self) -> dict:
        """Handle the signals, and return the previous handler of each. Outside the main thread, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {signum: signal.signal(signum, self._remember) for signum in self.SIGNALS}

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _remember(self, signum: int, _frame: FrameType | None) -> None:
        if os.getpid() != self.process:
            return  # a worker of a data loader, which inherits the handler and is ended by its parent
        if self.forward:
            self.forward(signum)
        if self.signum is not None and signum == signal.SIGINT:
            if os.isatty(2):
                os.write(2, b"\x1b[?25h")  # shows the cursor, which a live table has hidden
            os._exit(128 + signum)
        self.signum = self.signum or signum
        if get_rank_info().rank == 0:
            message = "finishing the current step before stopping (press Ctrl-C to stop at once)"
            # The handler may interrupt a call of print, which cannot be called again until it has returned.
            os.write(2, f"\n{signal.Signals(signum).name}: {message}\n".encode())

    def synchronize(self, due: bool = False) -> bool:
        """Make a signal that arrived at any process count for all of them, and return whether `due` is True in any."""
        any_due, signum = all_reduce_max(int(due), self.signum or 0)
        self.agreed = signum or None
        return bool(any_due)

    def raise_if_stopped(self, where: str) -> None:
        """Raise `Stopped` if the processes have agreed on a signal. `where` says how far which run is."""
        if self.agreed is not None:
            raise Stopped(f"stopped by {signal.Signals(self.agreed).name}, {where}", self.agreed)
