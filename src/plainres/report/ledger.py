"""The ledger: departures from the paper, records made before corrections, and the tests of claims with their dates.

The report prints it. Every threshold that was chosen after data had been seen has the date of its choice, and every
change of a claim's test says which verdicts changed.
"""

from plainres.report.records import Run

# What it is, what the paper has, what the study has.
DEVIATIONS = (
    (
        "Budget",
        "64,000 iterations on CIFAR-10",
        "in each study's name; in shorter runs the learning rate falls at the same shares of the budget",
    ),
    ("Batch seen by BN", "presumably 64 on each of two GPUs", "all 128, unless the study's name says bn64"),
    ("Initialization", "He's; of which layers is not said", "convolutions and classifier, normal, fan-in"),
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
        "at 1,000 iterations were trained again. No verdict rested on their earlier records with He-initialized gates, "
        "whose first gradients explode at 56 layers.",
    ),
    (
        "2026-11-21",
        "Probes",
        "`response_gradient_norm`, `weight_norm`, `relative_weight_norm` and `weight_angle` are recorded since this "
        "date. Claims 3b and 3c cannot be judged on earlier records.",
    ),
    (
        "2026-11-21",
        "Hardware before a restart",
        "`provenance.earlier` names it since this date. plain-20 and resnet-20 at 64,000 iterations were begun before, "
        "and their run.json names only their last CPU, an Intel Xeon with AMX. Captions and `make verify` add that an "
        "AMD EPYC without AMX computed their first 20,015 and 20,978 iterations.",
    ),
    (
        "2026-11-22",
        "Nets of 56 layers at 64,000 iterations",
        "With them, claims 1 and 2 are judged at the paper's budget, where there is one seed, and go from *indicative* "
        "(at 8,000 iterations) to *not enough data*. No test changed. The gap is smaller at the longer budget, and "
        "does not exceed what chance explains by the seeds at 2,000 iterations, the longest budget with several.",
    ),
    (
        "2026-11-23",
        "Plain nets of 20 and 56 layers at 8,000 iterations in fp32",
        "Several seeds of plain-56 now exist at 8,000 iterations. By the rule of 2026-11-22, what chance explains in "
        "claims 1, 2, 5 and 9 is estimated from them, and no longer from the seeds at 2,000. The limits rise. Claims "
        "3a to 3c are judged on these nets, and no longer at 2,000 and 1,500 iterations. The direction of claim 3b "
        "goes from opposite to as claimed, both without excluding chance. No level and no test changed.",
    ),
    (
        "2026-11-28",
        "Seeds 1 and 2 of ResNet-56 at 8,000 iterations in fp32",
        "What chance explains in claims 4, 5 and 9 is estimated from them, and no longer from the seeds at 2,000. The "
        "limits fall. Claim 5a is judged at 8,000 iterations, and no longer at 2,000, where the interval of the nets "
        "of 20 layers excluded zero. No level and no test changed.",
    ),
    (
        "2026-11-28",
        "Nets of 32 layers at 8,000 iterations in bf16",
        "Claims 1a and 4a are judged on them, at the first step, and no longer at 1,000 iterations at the step from 44 "
        "to 56 layers. The direction of claim 4a goes from as claimed to opposite, both without excluding chance. No "
        "level and no test changed.",
    ),
    (
        "2026-11-28",
        "Nets of 44 layers at 8,000 iterations in bf16",
        "Claims 1a and 4a are judged at all three steps, and no longer at the first alone. The direction of claim 4a "
        "goes from opposite to as claimed in one of three steps, all without excluding chance. No level and no test "
        "changed.",
    ),
)

# Thresholds: what, value and reason, chosen on, and whether data had been seen by then.
THRESHOLDS = (
    (
        "Least budget for final errors",
        "an eighth of the paper's: below it a slow start and a worse end look the same",
        "2026-11-21",
        "after the studies up to 8,000 iterations",
    ),
    (
        "Pooling of variances",
        "Bartlett's test over the nets of one budget, at 5%, and no standard deviation over three times another",
        "2026-11-21",
        "after three seeds at 320 and 2,000 iterations",
    ),
    (
        "Vanishing forward signal (3a)",
        "variance before BN under 1e-3, a hundred times the eps of BN, below which BN no longer restores the signal",
        "2026-11-21",
        "after the smallest recorded variance of nets with BN, 0.08",
    ),
    (
        "Vanishing and exploding gradients (3b, 3c)",
        "a hundredth and a hundred times the median layer of plain-20 at the same iteration",
        "2026-11-21",
        "after probes of weight gradients, before any of response gradients",
    ),
    (
        "Early training error (4b, 5a)",
        "mean over the first 1,000 iterations (5a) and 2,000 iterations (4b), all at the initial learning rate",
        "2026-11-21",
        "5a after three seeds at 2,000 iterations, 4b before any record",
    ),
    (
        "Alike at 18 layers (6)",
        "within 0.5 points of top-1 error; the paper's two nets differ by 0.06",
        "2026-11-21",
        "before any record of 1,000 classes",
    ),
    (
        "Shortcut options alike (7)",
        "within 0.84 points, what the paper's Table 3 has between options A and C",
        "2026-11-21",
        "after one seed at 1,000 iterations",
    ),
    (
        "Responses (9)",
        "median over layers, and a two-sided sign test layer by layer at 5%",
        "2026-11-21",
        "after the studies up to 8,000 iterations",
    ),
)

# Changes of tests: date, claims, what changed, which verdicts changed.
CHANGES = (
    (
        "2026-11-21",
        "all",
        "Seeds of other budgets no longer lend their spread to a single run. One run per net, or a budget under the "
        "paper's, gives at most the level `indicative`. The interval of independent runs decides, not the paired one. "
        "Margins are the published effects, not half a point.",
        "1 and 2: reproduced → indicative",
    ),
    (
        "2026-11-21",
        "1, 2, 4",
        "Training error is also judged on the clean training set in evaluation mode.",
        "none",
    ),
    (
        "2026-11-21",
        "3",
        "Split into forward signals (3a), vanishing (3b) and exploding gradients (3c), on quantities that do not "
        "depend on the scale of the weights behind BN. Before, norms of weight gradients decided, which fall as the "
        "weights grow.",
        "3: not reproduced → 3a: indicative, 3b and 3c: not enough data",
    ),
    (
        "2026-11-21",
        "7",
        "Options are alike within what the paper reports between them, not within half of the gain over the plain net.",
        "none",
    ),
    ("2026-11-21", "8", "The cost is a claim by itself (8a), judged from the counted nets.", "8a: reproduced"),
    (
        "2026-11-21",
        "9",
        "The median over layers and a sign test decide, not the mean, which a few exploded layers of plain-56 drive.",
        "none",
    ),
    ("2026-11-21", "1a, 1b, 1c, 4a, 4b, 5a, 12, 13", "New claims.", "all: not enough data"),
    (
        "2026-11-22",
        "all",
        "What chance explains between single runs is estimated from the seeds of the nets that are compared, each at "
        "its largest budget with several seeds. Before, the most variable net of any budget bounded it, which was "
        "resnet-56 at 2,000 iterations for most claims. It still does for nets without several seeds. Changed before "
        "any record of 56 layers at 64,000 iterations, and after the others.",
        "no level; in claims 5 and 9, one more effect exceeds what chance explains",
    ),
    (
        "2026-11-23",
        "2",
        "An interval that includes zero refutes the claim only if it lies below the whole interval of the figure that "
        "it is compared with, and not only below its mean. The figure of claim 2 is the only one with an interval. "
        "Changed before any record of several seeds at 64,000 iterations.",
        "none",
    ),
    (
        "2026-11-23",
        "11",
        "An ensemble counts only if its nets had the paper's budget of training, and is compared with scores of its "
        "members in the same precision. Changed before any record of 1,000 classes.",
        "none",
    ),
    (
        "2026-11-28",
        "2",
        "The figure of the student reproductions no longer refutes the claim, because it cannot be looked up. It is "
        "only shown. Changed before any record of several seeds at 64,000 iterations.",
        "none",
    ),
    (
        "2026-11-28",
        "11",
        "An ensemble whose interval includes zero counts. Before, it was left out where another one was decided. "
        "Changed before any record of 1,000 classes.",
        "none",
    ),
)


# The tables of the report: title, entries and columns.
TABLES = (
    ("Deviations from the paper", DEVIATIONS, ("what", "paper", "here")),
    ("Records made before a correction", RECORDS, ("date", "what", "effect on records")),
    ("Thresholds", THRESHOLDS, ("threshold", "value and reason", "chosen on", "data seen by then")),
    ("Changes of the claims' tests", CHANGES, ("date", "claims", "change", "verdicts that changed")),
)


def has_small_gates(run: Run) -> bool:
    """Whether a record of a highway net was made with gates from N(0, 0.01²): those have the newer BN averages."""
    return "averaged_bn_test_error" in run.info["final"]
