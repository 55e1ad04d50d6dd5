"""An experiment from its runs to its figures. Only this module uses both the study and the report."""

from collections.abc import Sequence
from pathlib import Path

import torch

from plainres.study import StudyContext, StudyOptions, run_study
from plainres.terminal import show_figure
from plainres.tracking.runs import ENDED, WANDB_FOLDER, in_sweep, resolve_mode
from plainres.training import Record, RunConfig
from plainres.training.distributed import get_rank_info

MAIN_FIGURES = ("figure6.png", "figure4.png")  # of CIFAR and of ImageNet


def run_experiment(
    configs: Sequence[RunConfig], options: StudyOptions, device: torch.device, results: Path | None = None
) -> int:
    """Train the runs that are missing, then draw and print the results of their studies.

    Runs with the same data, number of iterations and precision form a study. `results` is the results folder, by
    default that of the options. The exit status is 1 if a run diverged or failed, otherwise 0.
    """
    # Here, so that a missing extra is one line for the scripts, too, before anything is trained.
    from plainres.report import Results, read_study, write_study
    from plainres.report.write import study_markdown, write_budgets
    from plainres.tracking.backfill import send_record, track_report

    results = results or options.results
    is_rank_zero = get_rank_info().rank == 0
    mode = resolve_mode(options.wandb) if is_rank_zero else "off"
    if mode != "off" and in_sweep() and not options.plan:
        for config in configs:
            record = Record.of(results, config)
            if record.status(config) in ENDED:  # is not trained again, but the agent of the sweep waits for a run
                send_record(record, config, mode)
    context = StudyContext(
        data_dir=options.data_dir, results=results, device=device, wandb_mode=mode, compile=options.compile
    )
    status = run_study(configs, context, options)
    if not is_rank_zero:
        return 0  # rank 0 still draws, and a launcher would stop it if another rank failed
    if options.plan:
        return status
    names = list(dict.fromkeys(config.study for config in configs))
    for name in names:
        study = read_study(results / name)
        if study.runs:
            write_study(study)
            print(f"\n{study_markdown(study)}\nFigures and tables: {study.folder}/")
            figure = next((study.folder / name for name in MAIN_FIGURES if (study.folder / name).exists()), None)
            if figure:
                show_figure(figure)
                print(f"Figure: {figure}")
            # The agent of a sweep allows one W&B run per process.
            if mode != "off" and not in_sweep():
                track_report(study, mode, results / WANDB_FOLDER)
    if len(names) > 1:
        write_budgets(Results(results))
    return status
