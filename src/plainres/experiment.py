"""An experiment from its runs to its figures: the one place that knows both the study and the report."""

from collections.abc import Sequence
from pathlib import Path

import torch

from plainres.report import find_studies, read_study, write_study
from plainres.report.write import study_markdown, write_budgets
from plainres.study import StudyContext, StudyOptions, run_study
from plainres.tracking.backfill import mirror_report
from plainres.tracking.mirror import MIRRORED, in_sweep, resolve_mode
from plainres.training import RunConfig
from plainres.training.distributed import get_rank_info


def run_experiment(
    configs: Sequence[RunConfig], options: StudyOptions, device: torch.device, results: Path | None = None
) -> int:
    """Train what is missing of the runs, then draw and print what their records say.

    Args:
        configs: the runs; those of one budget and precision make one study.
        options: the command line's.
        device: where to train.
        results: results folder, where not the options'.

    Returns:
        Exit status: 1 where a run diverged or failed, else 0.
    """
    results = results or options.results
    follows = get_rank_info().rank > 0
    mode = "off" if follows else resolve_mode(options.wandb)
    status = run_study(
        configs,
        StudyContext(data_dir=options.data_dir, results=results, device=device, wandb_mode=mode, engine=options.engine),
        options.plan,
        options.runs_per_device,
        options.devices_per_run,
        options.launcher,
        options.address,
    )
    if follows:
        return 0  # rank 0 is not done yet, and a launcher would end it with a failing one
    if options.plan:
        return status
    names = list(dict.fromkeys(config.study for config in configs))
    for name in names:
        study = read_study(results / name)
        if study.runs:
            write_study(study)
            print(f"\n{study_markdown(study)}\nFigures and tables: {study.folder}/")
            # A sweep's agent has one W&B run a process.
            if mode != "off" and not in_sweep():
                mirror_report(study, mode, results / MIRRORED)
    if len(names) > 1:
        write_budgets(find_studies(results), results)
    return status
