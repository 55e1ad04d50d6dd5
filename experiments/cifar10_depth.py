"""Do deeper plain nets train worse, and do shortcuts prevent it? (sections 1 and 4.2, Figures 1 and 6, Table 6)

    make reproduce-cifar                        # set-up, this script, and its figures
    python experiments/cifar10_depth.py --plan  # the state of each run, and on a CPU the expected time

With a GPU, the nets and the protocol are the paper's: plain nets of 20, 32, 44 and 56 layers and residual nets of 20,
32, 44, 56 and 110 layers, trained for 64,000 iterations with a batch size of 128.

Without a GPU, plain and residual nets of 20 and 56 layers are trained for 1,500 iterations. As many runs as cores and
memory allow are trained side by side, and share the cores equally. `--plan` prints how long that takes; on an Intel
Xeon with AMX, the four runs took 39 minutes of one core in total (`seconds` in results/cifar10-1500-bf16), and CPUs
without bf16 are several times slower. With three seeds, every plain-56 ends far behind every plain-20 on the training
set and every ResNet-56 ahead of every plain-56, but not yet ahead of ResNet-20. A classifier drawn from N(0, 0.01^2)
did not change that (`--classifier-init small`; finding 8 of docs/findings.md), so the protocol is the paper's.

`--demo` trains smaller nets on small synthetic images, where the deep plain net also ends far behind the shallow one,
within minutes and without a download.
"""

from plainres.cli import run_command
from plainres.experiments.cifar10_depth import main

if __name__ == "__main__":
    run_command(lambda: main(__doc__))
