"""Dose and response: how much the first updates enlarge the first layers of plain nets, and their errors at the end."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from plainres.catalog.datasets import CIFAR10
from plainres.records.record import Record
from plainres.report.drawing import in_our_style, make_panels
from plainres.report.records import Study

ITERATIONS = 2_000
FIRST_PROBE = 31  # iteration of the first probe after the initial one in a run of this length
FIRST_LAYERS = 10
MARKERS = {20: "s", 56: "o"}  # by depth
# By the classifier's initialization and the bound on the gradient norm.
CONDITIONS = {
    ("he", 0.0): ("classifier He-normal", "#d1495b"),
    ("uniform", 0.0): ("classifier uniform", "#c77d00"),
    ("small", 0.0): ("classifier N(0, 0.01²)", "#20608f"),
    ("he", 1.0): ("gradient norm at most 1", "#1a7f37"),
}


def relative_norm(run: Record, iteration: int) -> float:
    """Median norm of the weights of a net's first ten 3x3 layers at a probe, relative to the initial norms."""
    probes = run.probes[(run.probes["iteration"] == iteration) & (run.probes["layer"] <= FIRST_LAYERS)]
    return probes["relative_weight_norm"].median()


def _condition(run: Record) -> tuple[str, float]:
    return run.config.get("classifier_init", "he"), run.config.get("clip", 0.0)


@in_our_style
def figure_first_updates(studies: Sequence[Study]) -> Figure | None:
    """Draw the training errors of plain-20 and plain-56 after 2,000 iterations against `relative_norm` at iteration 31.

    Points are runs: hollow in fp32, filled in bf16. There is no figure if no such run of plain-56 has finished.
    """
    chosen = [study for study in studies if study.runs and study.info is CIFAR10 and study.iterations == ITERATIONS]
    runs = [
        run
        for study in chosen
        for run in study.runs
        if run.kind == "plain" and run.depth in MARKERS and "relative_weight_norm" in run.probes
    ]
    if not any(run.depth == max(MARKERS) for run in runs):
        return None
    title = "Smaller first updates, lower error of plain-56"
    figure, (panel,) = make_panels(chosen[0], title, runs, 1, 1, "Filled: bf16.", figsize=(7.2, 4.2))
    for run in runs:
        colour = CONDITIONS[_condition(run)][1]
        fill = colour if run.config["precision"] == "bf16" else "white"
        position = relative_norm(run, FIRST_PROBE), run.info["final"]["train_error"]
        panel.plot(*position, MARKERS[run.depth], color=colour, mfc=fill, ms=7)
    for condition, (label, colour) in CONDITIONS.items():
        if condition in map(_condition, runs):
            panel.plot([], [], "o", color=colour, label=label)
    for depth, marker in MARKERS.items():
        panel.plot([], [], marker, color="0.4", mfc="white", label=f"{depth} layers")
    panel.set_xscale("log")
    ticks = [1, 2, 5, 10, 20, 50, 100]
    panel.set_xticks(ticks, labels=map(str, ticks))
    panel.minorticks_off()
    panel.set_xlabel(f"norm of the first ten layers after {FIRST_PROBE} iterations, relative to the initial one")
    panel.set_ylabel(f"training error after {ITERATIONS:,} iterations (%)")
    panel.set_ylim(0, 80)
    panel.legend(loc="center right")
    return figure
