"""The paper's learning rate, as a function of the iteration (section 4.2)."""

from plainres.training.config import ROWS, WARMUP_DEPTH, RunConfig

WARMUP_WINDOW = 100  # iterations over which the training error is averaged
WARMUP_ERROR = 80.0  # percent, under which the warm-up ends
TEST_PASS_COST = 26  # training iterations that a pass over 10,000 test images costs
TEST_SHARE = 0.05  # of a run, at most, spent on test passes before its end


def learning_rate(config: RunConfig, iteration: int, warming_up: bool) -> float:
    """The rate of one iteration (counted from 0): tenfold lower from N/2 on, again from 3N/4 on, and in the warm-up."""
    n = config.iterations
    if warming_up or n // 2 <= iteration < 3 * n // 4:
        return config.lr / 10
    return config.lr if iteration < n // 2 else config.lr / 100


def has_warmup(config: RunConfig) -> bool:
    """Whether the run begins at a tenth of the learning rate: 110 layers and more."""
    return config.depth >= WARMUP_DEPTH


def warmup_cap(config: RunConfig) -> int:
    """The iteration at which a warm-up ends at the latest; plain nets may never get under 80% error."""
    return config.iterations // 8


def row_ends(config: RunConfig) -> list[int]:
    """The iterations after which a row of metrics is written: 64 of them, the last one N."""
    return [row * config.iterations // ROWS for row in range(1, ROWS + 1)]


def test_points(config: RunConfig) -> list[int]:
    """The rows' ends at which the test set is passed: as many as cost under 5% of the run, and the last."""
    passes = ROWS
    while passes > 1 and (passes - 1) * TEST_PASS_COST > TEST_SHARE * config.iterations:
        passes //= 2
    return row_ends(config)[ROWS // passes - 1 :: ROWS // passes]
