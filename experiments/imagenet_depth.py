"""How does depth change plain and residual nets on ImageNet? (section 4.1, Figure 4, Tables 2 and 3)

    make reproduce-imagenet DATA_DIR=/data/imagenet GPUS=8
    python experiments/imagenet_depth.py --data-dir /data/imagenet --plan     # expected time on this machine
    python experiments/imagenet_depth.py --data-dir SAMPLE --check            # test of the pipeline on a CPU

Plain and residual nets (option A) of 18 and 34 layers, and residual nets (option B) of 50, 101 and 152 layers, are
trained for 600,000 iterations with a batch size of 256, one net per GPU. Afterwards, score the weights with
`plainres score`. This study has not been run: --plan estimates its cost on the machine at which it is
called. With --check, the four shallow nets took 10 minutes in total on one core of an AMD EPYC, on ten classes
(`seconds` in results/imagenet-10-classes-64px-plateau-256-bf16).

Expected from the paper: plain-34 has a higher training and validation error than plain-18, ResNet-34 has lower errors
than ResNet-18, and the errors of the bottleneck nets decrease with depth.
"""

from plainres.cli import run_command
from plainres.experiments.imagenet_depth import main

if __name__ == "__main__":
    run_command(lambda: main(__doc__))
