"""One run in its own process: `python -m plainres.study.worker TASK`, where TASK comes from `StudyContext.to_task`."""

import sys
import traceback

from plainres.errors import UserError
from plainres.study.context import from_task
from plainres.study.parallel import BUSY_STATUS, LOST_STATUS
from plainres.training.distributed import RankLost, exit_process, get_rank_info, report_lost_rank
from plainres.training.lock import Busy
from plainres.training.signals import Stopped


def main() -> int:
    """Train the run, and return an exit status that tells the parent process how it ended."""
    (task,) = sys.argv[1:]
    try:
        context, config = from_task(task)
        with report_lost_rank():
            context.train(config)
    except Busy as error:
        print(error, file=sys.stderr)
        return BUSY_STATUS
    except RankLost as error:
        print(error, file=sys.stderr)
        return LOST_STATUS
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_status if get_rank_info().rank == 0 else 0
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    exit_process(main())
