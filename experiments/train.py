"""What are the errors of one net? Train any net of the study with any settings.

    python experiments/train.py --depth 56 --shortcut none --seeds 0 1 --iterations 8000
    python experiments/train.py --depth 20 --lr 0.03 --train-set 45k      # choose settings on held-out images
    python experiments/train.py --depth 20 --plan                         # expected time on this CPU

Without `--iterations`, a GPU trains for the paper's 64,000 iterations, and a CPU for 1,000.

The W&B sweeps in `experiments/sweeps/` run this script. On one core of an AMD EPYC with AVX-512 BF16, 8,000 iterations
of ResNet-20 took 34 minutes, and those of ResNet-56 took 184 minutes beside other programs (`seconds` in the last row
of metrics.csv, results/cifar10-8k-bf16).
"""

from plainres.cli import run_command
from plainres.experiments.train import main

if __name__ == "__main__":
    run_command(lambda: main(__doc__))
