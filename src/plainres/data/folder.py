"""The folder of the data sets."""

import os
from pathlib import Path


def default_data_dir() -> Path:
    """Return the folder that contains the data sets: the environment variable DATA_DIR if it is set, else `./data`."""
    return Path(os.environ.get("DATA_DIR") or "data")
