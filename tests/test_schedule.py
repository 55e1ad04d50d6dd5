"""The learning rate at every step, the rows, and what test passes cost."""

from hypothesis import given, settings
from hypothesis import strategies as st

from plainres.training.config import RunConfig
from plainres.training.schedule import (
    TEST_PASS_COST,
    has_warmup,
    learning_rate,
    row_ends,
    test_points,
    warmup_cap,
)

test_points.__test__ = False


def test_the_papers_schedule_at_every_iteration():
    config = RunConfig(depth=20)
    rates = [learning_rate(config, i, False) for i in range(64_000)]
    assert rates[:32_000] == [0.1] * 32_000
    assert rates[32_000:48_000] == [0.1 / 10] * 16_000
    assert rates[48_000:] == [0.1 / 100] * 16_000


def test_warm_up_is_for_110_layers_and_more():
    assert [has_warmup(RunConfig(depth=depth)) for depth in (20, 56, 104, 110, 1202)] == [
        False,
        False,
        False,
        True,
        True,
    ]
    config = RunConfig(depth=110)
    assert learning_rate(config, 0, True) == 0.01
    assert learning_rate(config, 400, False) == 0.1
    assert warmup_cap(config) == 8_000


@given(iterations=st.integers(64, 100_000))
@settings(max_examples=200)
def test_rows_and_test_passes(iterations):
    config = RunConfig(depth=20, iterations=iterations)
    ends = row_ends(config)
    assert len(set(ends)) == 64 and ends == sorted(ends) and ends[-1] == iterations and ends[0] > 0
    points = test_points(config)
    assert set(points) <= set(ends) and points[-1] == iterations
    assert (len(points) - 1) * TEST_PASS_COST <= 0.05 * iterations
    assert iterations // 2 in ends and 3 * iterations // 4 in ends
    rates = {learning_rate(config, i, False) for i in (0, iterations // 2, iterations - 1)}
    assert len(rates) == 3
