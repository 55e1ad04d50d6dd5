"""One run in a process of its own: `python -m plainres.study.worker TASK`, see `Setting.to_task`."""

import sys
import traceback

from plainres.errors import UserError
from plainres.study.parallel import BUSY_STATUS, LOST_STATUS
from plainres.study.setting import from_task
from plainres.training.lock import Busy
from plainres.training.ranks import RankLost, leave, loss_of_a_rank, this_process
from plainres.training.stop import Stopped


def main() -> int:
    (task,) = sys.argv[1:]
    try:
        setting, config = from_task(task)
        with loss_of_a_rank():
            setting.train(config)
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
        return stopped.exit_status if this_process().rank == 0 else 0
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    leave(main())
