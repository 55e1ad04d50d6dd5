"""The learning rate of every iteration, the rows of metrics, and the passes over the test set."""

from hypothesis import given, settings
from hypothesis import strategies as st

from plainres.catalog.datasets import CIFAR10
from plainres.training.config import RunConfig
from plainres.training.schedule import (
    WARMUP_WINDOW,
    learning_rate,
    row_ends,
    split_into_spans,
    test_points,
    warmup_limit,
)

test_points.__test__ = False


def test_learning_rate_follows_the_paper_at_every_iteration():
    config = RunConfig(depth=20)
    rates = [learning_rate(config, i, False) for i in range(64_000)]
    assert rates[:32_000] == [0.1] * 32_000
    assert rates[32_000:48_000] == [0.1 / 10] * 16_000
    assert rates[48_000:] == [0.1 / 100] * 16_000


def test_nets_of_110_layers_and_more_have_a_warm_up():
    assert [depth for depth in (20, 56, 104, 110, 1202) if warmup_limit(RunConfig(depth=depth))] == [110, 1202]
    config = RunConfig(depth=110)
    assert learning_rate(config, 0, True) == 0.01
    assert learning_rate(config, 400, False) == 0.1
    assert warmup_limit(config) == 8_000


@given(iterations=st.integers(64, 100_000))
@settings(max_examples=200)
def test_runs_have_64_rows_and_few_test_passes(iterations):
    config = RunConfig(depth=20, iterations=iterations)
    ends = row_ends(config)
    assert len(set(ends)) == 64 and ends == sorted(ends) and ends[-1] == iterations and ends[0] > 0
    points = test_points(config)
    assert set(points) <= set(ends) and points[-1] == iterations
    assert (len(points) - 1) * CIFAR10.test_pass_cost <= 0.05 * iterations
    assert iterations // 2 in ends and 3 * iterations // 4 in ends
    rates = {learning_rate(config, i, False) for i in (0, iterations // 2, iterations - 1)}
    assert len(rates) == 3


def test_thirds_drop_after_30_and_60_of_90_epochs():
    config = RunConfig(depth=20, iterations=90, schedule="thirds")
    rates = [learning_rate(config, i, False) for i in range(90)]
    assert rates == [0.1] * 30 + [0.1 / 10] * 30 + [0.1 / 100] * 30


def test_plateau_means_six_rows_without_a_better_training_error():
    config = RunConfig(depth=20, iterations=64, schedule="plateau")

    def rate(*errors: float) -> float:
        return learning_rate(config, len(errors), False, [{"train_error": error} for error in errors])

    assert rate() == 0.1
    assert rate(90, 80, 70, 60, 50, 40, 30, 20) == 0.1  # still falling
    assert rate(50, *[49.9] * 5) == 0.1  # less than 1% better, but only for five rows
    assert rate(50, *[49.9] * 6) == 0.1 / 10
    assert rate(50, *[49.9] * 5, 40, *[40] * 5) == 0.1  # fell again before the sixth row
    assert rate(50, *[60] * 12) == 0.1 / 100
    assert rate(50, *[60] * 60) == 0.1 / 1000  # three drops at most


@given(
    iterations=st.integers(64, 20_000),
    depth=st.sampled_from([20, 110]),
    schedule=st.sampled_from(["halves", "thirds"]),
    longest=st.integers(1, 60),
    at=st.floats(0, 1, exclude_max=True),
)
@settings(max_examples=200)
def test_spans_cover_every_iteration_once_and_contain_no_event(iterations, depth, schedule, longest, at):
    config = RunConfig(depth=depth, iterations=iterations, schedule=schedule)
    start = int(at * iterations)
    spans = list(split_into_spans(config, start, iterations, longest))
    assert [i for span in spans for i in range(span.start, span.stop)] == list(range(start, iterations))
    events = {*row_ends(config), *test_points(config)}
    if warmup_limit(config):
        events |= {warmup_limit(config), *range(0, warmup_limit(config), WARMUP_WINDOW)}
    for span in spans:
        assert span.stop - span.start <= longest
        assert not events & set(range(span.start + 1, span.stop))
        for warming_up in (False, bool(warmup_limit(config))):
            assert len({learning_rate(config, i, warming_up) for i in range(span.start, span.stop)}) == 1
