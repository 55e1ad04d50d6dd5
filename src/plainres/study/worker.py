"""One run in a process of its own: `python -m plainres.study.worker CONFIG_JSON DATA_DIR RESULTS WANDB_MODE`."""

import json
import sys
from pathlib import Path

from plainres.errors import UserError
from plainres.study.launch import BUSY_STATUS
from plainres.training import RunConfig, train_run
from plainres.training.device import choose_device
from plainres.training.lock import Busy
from plainres.training.stop import Stopped


def main() -> int:
    config_json, data_dir, results, wandb_mode = sys.argv[1:]
    try:
        config = RunConfig(**json.loads(config_json))
        train_run(config, Path(data_dir), Path(results), choose_device(), wandb_mode=wandb_mode)
    except Busy as error:
        print(error, file=sys.stderr)
        return BUSY_STATUS
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
