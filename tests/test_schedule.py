"""The learning rate of every iteration, the rows of metrics, and the passes over the test set."""

from hypothesis import given, settings
from hypothesis import strategies as st

from plainres.catalog.datasets import CIFAR10
from plainres.records.config import RunConfig
from plainres.training.schedule import learning_rate_factor, row_ends, validation_interval, warmup_limit


def learning_rate(config, iteration, warming_up=False, errors=()):
    return config.lr * learning_rate_factor(config, iteration, warming_up, errors)


def test_learning_rate_follows_the_paper_at_every_iteration():
    config = RunConfig(depth=20)
    rates = [learning_rate(config, i, False) for i in range(64_000)]
    assert rates[:32_000] == [0.1] * 32_000
    assert rates[32_000:48_000] == [0.1 * 0.1] * 16_000
    assert rates[48_000:] == [0.1 * 0.01] * 16_000


def test_nets_of_110_layers_and_more_have_a_warm_up():
    assert [depth for depth in (20, 56, 104, 110, 1202) if warmup_limit(RunConfig(depth=depth))] == [110, 1202]
    assert [depth for depth in (26, 32) if warmup_limit(RunConfig(depth=depth, dataset="demo"))] == [32]
    config = RunConfig(depth=110)
    assert learning_rate(config, 0, True) == 0.1 * 0.1
    assert learning_rate(config, 400, False) == 0.1
    assert warmup_limit(config) == 8_000


@given(iterations=st.integers(64, 100_000))
@settings(max_examples=200)
def test_runs_have_64_rows_and_few_test_passes(iterations):
    config = RunConfig(depth=20, iterations=iterations)
    ends = row_ends(config)
    assert len(set(ends)) == 64 and ends == sorted(ends) and ends[-1] == iterations and ends[0] > 0
    interval = validation_interval(config)
    points = range(interval, iterations + 1, interval)
    assert set(points) <= set(ends) and points[-1] == iterations
    assert (len(points) - 1) * CIFAR10.test_pass_cost <= 0.05 * iterations
    assert iterations // 2 in ends and 3 * iterations // 4 in ends
    rates = {learning_rate(config, i, False) for i in (0, iterations // 2, iterations - 1)}
    assert len(rates) == 3


def test_thirds_drop_after_30_and_60_of_90_epochs():
    config = RunConfig(depth=20, iterations=90, schedule="thirds")
    rates = [learning_rate(config, i, False) for i in range(90)]
    assert rates == [0.1] * 30 + [0.1 * 0.1] * 30 + [0.1 * 0.01] * 30


def test_plateau_means_six_rows_without_a_better_training_error():
    config = RunConfig(depth=20, iterations=64, schedule="plateau")

    def rate(*errors: float) -> float:
        return learning_rate(config, len(errors), False, errors)

    assert rate() == 0.1
    assert rate(90, 80, 70, 60, 50, 40, 30, 20) == 0.1  # still falling
    assert rate(50, *[49.9] * 5) == 0.1  # less than 1% better, but only for five rows
    assert rate(50, *[49.9] * 6) == 0.1 * 0.1
    assert rate(50, *[49.9] * 5, 40, *[40] * 5) == 0.1  # fell again before the sixth row
    assert rate(50, *[60] * 12) == 0.1 * 0.01
    assert rate(50, *[60] * 60) == 0.1 * 0.001  # three drops at most
