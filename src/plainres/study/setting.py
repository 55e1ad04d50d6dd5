"""Where and how a study's runs are trained."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from plainres.training import RunConfig, train_run


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and how runs are trained: nothing that changes what they compute.

    Attributes:
        data_dir: folder that holds CIFAR-10.
        results: results folder.
        device: "cuda" without an index means all GPUs.
        wandb_mode: "online", "offline" or "off".
        engine: "auto", "eager" or "fast".
    """

    data_dir: Path
    results: Path
    device: torch.device
    wandb_mode: str = "off"
    engine: str = "auto"

    def train(self, config: RunConfig) -> dict:
        """Train one run here and now, see `train_run`."""
        return train_run(
            config, self.data_dir, self.results, self.device, wandb_mode=self.wandb_mode, engine=self.engine
        )

    def on(self, device: str) -> "Setting":
        """The same on another device."""
        return replace(self, device=torch.device(device))

    def to_task(self, config: RunConfig) -> str:
        """Setting and run as JSON, for a process or machine of its own."""
        return json.dumps({"config": asdict(config), "setting": asdict(self)}, default=str)


def from_task(task: str) -> tuple[Setting, RunConfig]:
    """What `Setting.to_task` wrote."""
    told = json.loads(task)
    own = told["setting"]
    paths = {name: Path(own[name]) for name in ("data_dir", "results")}
    return Setting(**own | paths | {"device": torch.device(own["device"])}), RunConfig(**told["config"])
