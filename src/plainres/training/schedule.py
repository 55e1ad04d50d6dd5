"""The paper's learning rate: a function of the iteration and, with plateaus, of the rows so far (sections 3.4, 4.2)."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from plainres.training.config import ROWS, WARMUP_DEPTH, RunConfig

WARMUP_WINDOW = 100  # iterations over which the training error is averaged
WARMUP_ERROR = 80.0  # percent, under which the warm-up ends
TEST_PASS_COST = 26  # training iterations of 128 that a pass over 10,000 test images costs
IMAGENET_TEST_PASS_COST = 65  # those of 256 that a pass over 50,000 costs
TEST_SHARE = 0.05  # of a run, at most, spent on test passes before its end


PATIENCE = 6  # rows without a better training error that make a plateau, about a tenth of the run
IMPROVEMENT = 0.01  # of the best training error, under which it is no better
MOST_DROPS = 3


def plateau_drops(rows: Sequence[dict]) -> int:
    """How many times the training error has reached a plateau, at most 3: it decides, not the test error."""
    drops, best, since = 0, math.inf, 0
    for row in rows:
        if row["train_error"] < (1 - IMPROVEMENT) * best:
            best, since = row["train_error"], 0
        else:
            since += 1
        if since == PATIENCE:
            drops, since = drops + 1, 0
    return min(drops, MOST_DROPS)


def learning_rate(config: RunConfig, iteration: int, warming_up: bool, rows: Sequence[dict] = ()) -> float:
    """The rate of one iteration (counted from 0), tenfold lower after each drop of the schedule and in the warm-up.

    Args:
        config: the run, whose `schedule` says where the drops are.
        iteration: counted from 0.
        warming_up: whether the warm-up lasts.
        rows: the rows of metrics before this iteration, which decide on a plateau.
    """
    n = config.iterations
    if config.schedule == "plateau":
        return config.lr / 10 ** plateau_drops(rows)
    if config.schedule == "thirds":
        return config.lr / 10 ** (3 * iteration // n)
    if warming_up or n // 2 <= iteration < 3 * n // 4:
        return config.lr / 10
    return config.lr if iteration < n // 2 else config.lr / 100


def has_warmup(config: RunConfig) -> bool:
    """Whether the run begins at a tenth of the learning rate: 110 layers and more."""
    return config.family == "cifar" and config.schedule == "halves" and config.depth >= WARMUP_DEPTH


def warmup_cap(config: RunConfig) -> int:
    """The iteration at which a warm-up ends at the latest; plain nets may never get under 80% error."""
    return config.iterations // 8


def row_ends(config: RunConfig) -> list[int]:
    """The iterations after which a row of metrics is written: 64 of them, the last one N."""
    return [row * config.iterations // ROWS for row in range(1, ROWS + 1)]


def test_pass_cost(config: RunConfig) -> int:
    """Training iterations that one pass over the test set costs."""
    return IMAGENET_TEST_PASS_COST if config.family == "imagenet" else TEST_PASS_COST


def test_points(config: RunConfig) -> list[int]:
    """The rows' ends at which the test set is passed: as many as cost under 5% of the run, and the last."""
    passes = ROWS
    while passes > 1 and (passes - 1) * test_pass_cost(config) > TEST_SHARE * config.iterations:
        passes //= 2
    return row_ends(config)[ROWS // passes - 1 :: ROWS // passes]


def chunks(config: RunConfig, start: int, stop: int, longest: int) -> Iterator[slice]:
    """Cut iterations into chunks after which alone something may happen: a row, a probe, another learning rate.

    Args:
        config: the run.
        start, stop: the iterations, counted from 0, `stop` left out.
        longest: most iterations of a chunk.

    Yields:
        Consecutive slices; none crosses a row's end, a fall of the learning rate or, as long as a warm-up may last, the
        end of its window.
    """
    ends = set(row_ends(config))
    if config.schedule == "thirds":
        ends |= {-(-config.iterations // 3), -(-2 * config.iterations // 3)}
    if has_warmup(config):
        ends |= set(range(WARMUP_WINDOW, warmup_cap(config), WARMUP_WINDOW))
    ends = sorted(ends)
    while start < stop:
        end = min(start + longest, stop, ends[bisect_right(ends, start)])
        yield slice(start, end)
        start = end
