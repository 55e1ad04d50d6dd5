"""The learning rate and the points at which a run records something (sections 3.4 and 4.2)."""

import math
from collections.abc import Sequence

from plainres.records.config import ROWS, RunConfig, learning_rate_drops

WARMUP_WINDOW = 100  # number of iterations over which the training error is averaged
WARMUP_ERROR = 80.0  # percent; the warm-up ends below it
TEST_SHARE = 0.05  # largest share of a run that is spent on passes over the test set before its end
PATIENCE = 6  # number of rows without a better training error that make a plateau, about a tenth of the run
IMPROVEMENT = 0.01  # smallest relative decrease of the training error that counts as better
MAX_DROPS = 3


def plateau_drops(errors: Sequence[float]) -> int:
    """Return how many times the training error of consecutive rows has reached a plateau, at most 3."""
    drops, best, since = 0, math.inf, 0
    for error in errors:
        if error < (1 - IMPROVEMENT) * best:
            best, since = error, 0
        else:
            since += 1
        if since == PATIENCE:
            drops, since = drops + 1, 0
    return min(drops, MAX_DROPS)


def learning_rate_factor(
    config: RunConfig, iteration: int, warming_up: bool = False, errors: Sequence[float] = ()
) -> float:
    """Return the learning rate of one iteration, counted from 0, relative to the initial one: a power of 1/10.

    A plateau is decided by the training errors of the rows of metrics before this iteration.
    """
    if config.schedule == "plateau":
        drops = plateau_drops(errors)
    elif warming_up:
        drops = 1
    else:
        drops = sum(iteration >= drop for drop in learning_rate_drops(config.schedule, config.iterations))
    return 1 / 10**drops


def warmup_limit(config: RunConfig) -> int:
    """Return the iteration at which the warm-up ends at the latest, or 0 if the run has no warm-up.

    The limit is an eighth of the run, because plain nets may never reach an error below 80%.
    """
    deep = config.family == "cifar" and config.schedule == "halves" and config.depth >= config.info.warmup_depth
    return config.iterations // 8 if config.warmup == "on" or (config.warmup == "auto" and deep) else 0


def row_ends(config: RunConfig) -> list[int]:
    """Return the iterations after which a row of metrics is written: 64 of them, the last one N."""
    return [row * config.iterations // ROWS for row in range(1, ROWS + 1)]


def validation_interval(config: RunConfig) -> int:
    """Return the number of iterations between passes over the test set.

    There are as many passes as cost less than 5% of the run, at the ends of rows, and always one at the end.
    """
    passes = ROWS
    while passes > 1 and (
        (passes - 1) * config.info.test_pass_cost > TEST_SHARE * config.iterations or config.iterations % passes
    ):
        passes //= 2
    return config.iterations // passes
