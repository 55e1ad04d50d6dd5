"""The paper's figures, as published. Errors in percent."""

PAPER_ITERATIONS = 64_000

# Table 6, CIFAR-10 test error. Of ResNet-110 it gives the best of five runs and, in brackets, mean and std.
TABLE_6 = {
    "resnet-20": "8.75",
    "resnet-32": "7.51",
    "resnet-44": "7.17",
    "resnet-56": "6.97",
    "resnet-110": "6.43 (best of 5; 6.61 ± 0.16)",
    "resnet-1202": "7.93",
}

# What a mean of ours is compared with: the mean where the paper gives one, else its single run.
TABLE_6_COMPARED = {
    "resnet-20": 8.75,
    "resnet-32": 7.51,
    "resnet-44": 7.17,
    "resnet-56": 6.97,
    "resnet-110": 6.61,
    "resnet-1202": 7.93,
}

# The paper's Table 6 sets these beside its own nets; of Highway-19 it gives the best run and, in brackets, the mean.
TABLE_6_PEERS = {
    "Maxout": ("-", "9.38"),
    "NIN": ("-", "8.81"),
    "DSN": ("-", "8.22"),
    "FitNet-19": ("2.5M", "8.39"),
    "Highway-19": ("2.3M", "7.54 (7.72 ± 0.16)"),
    "Highway-32": ("1.25M", "8.80"),
}

# Table 1: multiply-adds of the ImageNet nets; section 4.1 and Figure 3 have those of VGG.
TABLE_1 = {"18": 1.8e9, "34": 3.6e9, "50": 3.8e9, "101": 7.6e9, "152": 11.3e9, "VGG-16": 15.3e9, "VGG-19": 19.6e9}
