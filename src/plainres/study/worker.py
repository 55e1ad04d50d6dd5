"""One run in its own process, `python -m plainres.study.worker`, which reads pickled context and run from stdin."""

import pickle
import sys

from plainres.cli import run_command
from plainres.records.lock import Busy


def main() -> int:
    """Train the run. That another process is training it is no failure: the study asks again."""
    context, config = pickle.load(sys.stdin.buffer)
    try:
        context.train(config)
    except Busy as error:
        print(error, file=sys.stderr)
    return 0


if __name__ == "__main__":
    run_command(main)
