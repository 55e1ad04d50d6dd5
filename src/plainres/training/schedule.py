"""The learning rate and the points at which a run records something (sections 3.4 and 4.2)."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from plainres.training.config import ROWS, RunConfig

WARMUP_DEPTH = 110  # nets of at least this depth start at a tenth of the learning rate
WARMUP_WINDOW = 100  # number of iterations over which the training error is averaged
WARMUP_ERROR = 80.0  # percent; the warm-up ends below it
TEST_SHARE = 0.05  # largest share of a run that is spent on passes over the test set before its end
PATIENCE = 6  # number of rows without a better training error that make a plateau, about a tenth of the run
IMPROVEMENT = 0.01  # smallest relative decrease of the training error that counts as better
MAX_DROPS = 3


def plateau_drops(rows: Sequence[dict]) -> int:
    """Return how many times the training error has reached a plateau, at most 3. The test error has no influence."""
    drops, best, since = 0, math.inf, 0
    for row in rows:
        if row["train_error"] < (1 - IMPROVEMENT) * best:
            best, since = row["train_error"], 0
        else:
            since += 1
        if since == PATIENCE:
            drops, since = drops + 1, 0
    return min(drops, MAX_DROPS)


def learning_rate(config: RunConfig, iteration: int, warming_up: bool, rows: Sequence[dict] = ()) -> float:
    """Return the learning rate of one iteration, divided by 10 after each drop of the schedule and in the warm-up.

    Args:
        config: Configuration of the run, whose `schedule` decides where the drops are.
        iteration: Iteration, counted from 0.
        warming_up: Whether the warm-up lasts.
        rows: Rows of metrics before this iteration, which decide on a plateau.
    """
    n = config.iterations
    if config.schedule == "plateau":
        return config.lr / 10 ** plateau_drops(rows)
    if config.schedule == "thirds":
        return config.lr / 10 ** (3 * iteration // n)
    if warming_up or n // 2 <= iteration < 3 * n // 4:
        return config.lr / 10
    return config.lr if iteration < n // 2 else config.lr / 100


def warmup_limit(config: RunConfig) -> int:
    """Return the iteration at which the warm-up ends at the latest, or 0 if the run has no warm-up.

    The limit is an eighth of the run, because plain nets may never reach an error below 80%.
    """
    deep = config.family == "cifar" and config.schedule == "halves" and config.depth >= WARMUP_DEPTH
    return config.iterations // 8 if config.warmup == "on" or (config.warmup == "auto" and deep) else 0


def row_ends(config: RunConfig) -> list[int]:
    """Return the iterations after which a row of metrics is written: 64 of them, the last one N."""
    return [row * config.iterations // ROWS for row in range(1, ROWS + 1)]


def test_points(config: RunConfig) -> list[int]:
    """Return the ends of rows at which the test set is evaluated.

    There are as many as cost less than 5% of the run, and always the last one.
    """
    passes = ROWS
    while passes > 1 and (passes - 1) * config.info.test_pass_cost > TEST_SHARE * config.iterations:
        passes //= 2
    return row_ends(config)[ROWS // passes - 1 :: ROWS // passes]


def split_into_spans(config: RunConfig, start: int, stop: int, longest: int) -> Iterator[slice]:
    """Split iterations into spans, between which something may happen: a row, a probe, or another learning rate.

    Args:
        config: Configuration of the run.
        start: First iteration, counted from 0.
        stop: Iteration after the last one.
        longest: Largest number of iterations of a span.

    Yields:
        Consecutive slices. None contains the end of a row, a drop of the learning rate or, while a warm-up may last,
        the end of its window, except at its own end.
    """
    ends = set(row_ends(config))
    if config.schedule == "thirds":
        ends |= {-(-config.iterations // 3), -(-2 * config.iterations // 3)}
    ends |= set(range(WARMUP_WINDOW, warmup_limit(config), WARMUP_WINDOW))
    ordered = sorted(ends)
    while start < stop:
        end = min(start + longest, stop, ordered[bisect_right(ordered, start)])
        yield slice(start, end)
        start = end
