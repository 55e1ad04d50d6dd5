"""One run in a process of its own: `python -m plainres.study.worker CONFIG_JSON DATA_DIR RESULTS`."""

import json
import sys
from pathlib import Path

from plainres.errors import UserError
from plainres.training import RunConfig, train_run
from plainres.training.device import choose_device

if __name__ == "__main__":
    config_json, data_dir, results = sys.argv[1:]
    try:
        train_run(RunConfig(**json.loads(config_json)), Path(data_dir), Path(results), choose_device())
    except UserError as error:
        sys.exit(str(error))
