"""The ledger: departures from the paper, records made before corrections, and the rule of the verdicts with dates.

The report prints it. Every threshold that was chosen after data had been seen has the date of its choice, and every
change of the rule says which verdicts changed.
"""

# What it is, what the paper has, what the study has.
DEVIATIONS = (
    (
        "Budget",
        "64,000 iterations on CIFAR-10",
        "in each study's name; in shorter runs the learning rate falls at the same shares of the budget, but weight "
        "decay is the same per iteration, so that norms fall less by the end",
    ),
    ("Batch seen by BN", "presumably 64 on each of two GPUs", "all 128, unless the study's name says bn64"),
    ("Initialization", "He's; of which layers is not said", "convolutions and classifier, normal, fan-in; else named"),
    ("Warm-up of 110 layers", "0.01 until the training error is under 80%", "the same, at most N/8 iterations"),
    (
        "BN statistics in testing",
        "averages over a large training batch (authors' release)",
        "moving averages; errors with averages over augmented training images are recorded beside them",
    ),
    ("Precision", "fp32", "in each study's name; bf16 is autocast with fp32 weights, statistics and loss"),
    ("Weight decay", "1e-4, on which parameters is not said", "1e-4 on every parameter"),
    ("Training set", "chosen on 45k/5k, reported nets on the training set", "50k; 45k/5k on request"),
    ("Padding", "4 pixels, value not said", "zeros after subtracting the mean"),
    ("Momentum", "0.9, Caffe's form (rate inside the velocity)", "0.9, PyTorch's form (rate outside), no Nesterov"),
    ("Option A", "zero padding, where is not said", "half before, half after; subsampling by slicing"),
    ("ResNet-110", "best of five and mean", "mean of our seeds compared with the paper's mean"),
)

# Records made before a correction: date of the correction, what changed, what it means for the records.
RECORDS = (
    (
        "2026-11-21",
        "Averaged BN statistics",
        "Averages were taken over images without augmentation, which are not what a net is trained on. Since this date "
        "they are taken over augmented images and recorded as `averaged_bn_test_error`. Earlier records have "
        '`exact_bn_test_error`, which is not shown: their column reads "-".',
    ),
    (
        "2026-11-21",
        "Gates of highway nets",
        "Gate weights are drawn from N(0, 0.01²) since this date, as Srivastava et al. do. highway-20 and highway-56 "
        "at 1,000 iterations were trained again.",
    ),
    (
        "2026-11-21",
        "Probes",
        "`response_gradient_norm`, `weight_norm`, `relative_weight_norm` and `weight_angle` are recorded since this "
        "date. Gradients cannot be judged on earlier records.",
    ),
    (
        "2026-11-21",
        "Hardware before a restart",
        "`provenance.earlier` names it since this date. plain-20 and resnet-20 at 64,000 iterations were begun before, "
        "and their run.json names only their last CPU, an Intel Xeon with AMX. Tables and `make verify` add that an "
        "AMD EPYC without AMX computed their first 20,015 and 20,978 iterations.",
    ),
)

# Thresholds: what, value and reason, chosen on, and whether data had been seen by then.
THRESHOLDS = (
    (
        "Least budget",
        "an eighth of the paper's: below it a slow start and a worse end look the same",
        "2026-11-21",
        "after the studies up to 8,000 iterations",
    ),
    (
        "Vanishing signal",
        "variance before BN under 1e-3, a hundred times the eps of BN, below which BN no longer restores the signal",
        "2026-11-21",
        "after the smallest recorded variance of nets with BN, 0.08",
    ),
    (
        "Vanishing and exploding gradients",
        "a hundredth and a hundred times the median layer of plain-20 at the same iteration",
        "2026-11-21",
        "after probes of weight gradients, before any of response gradients",
    ),
    (
        "First 1,000 iterations",
        "signals and gradients are judged after them; before, they show the initialization, which is a finding by "
        "itself",
        "2026-11-29",
        "after all records",
    ),
    (
        "Early training error",
        "mean over the first 1,000 iterations, for the warm-up of 110 layers over 2,000, all at the initial rate",
        "2026-11-21",
        "after three seeds at 2,000 iterations, for the warm-up before any record",
    ),
    (
        "Alike at 18 layers",
        "within 0.5 points of top-1 error; the paper's two nets differ by 0.06",
        "2026-11-21",
        "before any record of 1,000 classes",
    ),
    (
        "Shortcut options alike",
        "within 0.84 points, what the paper's Table 3 has between options A and C",
        "2026-11-21",
        "after one seed at 1,000 iterations",
    ),
)

# Changes of the rule: date, claims, what changed, which verdicts changed.
CHANGES = (
    (
        "2026-11-21",
        "all",
        "Seeds of other budgets no longer lend their spread to a single run. The interval of independent runs decides, "
        "not the paired one. Margins are the published effects, not half a point.",
        "degradation: reproduced → indicative, a level of that rule",
    ),
    (
        "2026-11-21",
        "signals and gradients",
        "Judged on quantities that do not depend on the scale of the weights behind BN. Before, norms of weight "
        "gradients decided, which fall as the weights grow.",
        "not reproduced → three claims, one of them indicative",
    ),
    (
        "2026-11-22 to 2026-11-28",
        "all",
        "What chance explains between single runs was estimated from the seeds of the same nets at shorter budgets.",
        "none",
    ),
    (
        "2026-11-29",
        "all",
        "The rule above replaces the levels `indicative`, `not enough data` and `not reproduced`, pooled variances, "
        "pre-tests, paired intervals, and chance that is estimated from other budgets. The earlier rule was not "
        "monotone: without the records of 64,000 iterations three claims had risen. A smaller effect than the paper's "
        "no longer refutes a claim.",
        "both claims of degradation, residual against plain, and signals and gradients → direction reproduced",
    ),
    (
        "2026-11-29",
        "options A, B and C",
        "Judged at 20 layers, where three seeds at 8,000 iterations exist, and no longer at 56.",
        "not enough data → direction reproduced",
    ),
    (
        "2026-11-29",
        "steps in depth",
        "A trend over 20, 32, 44 and 56 layers replaces the three steps between them.",
        "none",
    ),
    (
        "2026-11-29",
        "signals and gradients; layer responses",
        "The growth of gradients in untrained nets is a finding and no part of the claim. Medians over layers decide "
        "about responses, without the sign test.",
        "exploding gradients: not reproduced → part of the claim that is direction reproduced",
    ),
    (
        "2026-11-29",
        "highway nets, FitNet and Highway-19, three times the iterations",
        "No longer claims: the paper cites the first two from others, and the third is a footnote on ImageNet.",
        "all had been not enough data",
    ),
    ("2026-11-29", "a better net exists; errors of Table 6", "New claims.", "reproduced; open"),
)


# The tables of the report: title, entries and columns.
TABLES = (
    ("Deviations from the paper", DEVIATIONS, ("what", "paper", "here")),
    ("Records made before a correction", RECORDS, ("date", "what", "effect on records")),
    ("Thresholds", THRESHOLDS, ("threshold", "value and reason", "chosen on", "data seen by then")),
    ("Changes of the rule", CHANGES, ("date", "claims", "change", "verdicts that changed")),
)
