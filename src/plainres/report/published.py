"""The paper's figures, as published. Errors in percent."""

# Table 6, CIFAR-10 test error: the paper's mean of ResNet-110, else its single run. Our means are compared with these.
TABLE_6_COMPARED = {
    "resnet-20": 8.75,
    "resnet-32": 7.51,
    "resnet-44": 7.17,
    "resnet-56": 6.97,
    "resnet-110": 6.61,
    "resnet-1202": 7.93,
}
# As printed. Of ResNet-110 the table gives the best of five runs and, in brackets, mean and std.
TABLE_6 = {net: f"{error:.2f}" for net, error in TABLE_6_COMPARED.items()}
TABLE_6["resnet-110"] = "6.43 (best of 5; 6.61 ± 0.16)"

# The paper's Table 6 sets these beside its own nets; of Highway-19 it gives the best run and, in brackets, the mean.
TABLE_6_PEERS = {
    "Maxout": ("-", "9.38"),
    "NIN": ("-", "8.81"),
    "DSN": ("-", "8.22"),
    "FitNet-19": ("2.5M", "8.39"),
    "Highway-19": ("2.3M", "7.54 (7.72 ± 0.16)"),
    "Highway-32": ("1.25M", "8.80"),
}

# Tables 2 and 3: ImageNet validation, 10-crop, top-1 and top-5. The paper gives plain-18 and ResNet-18 top-1 alone.
TABLE_3 = {
    "plain-18": (27.94, None),
    "resnet-18": (27.88, None),
    "plain-34": (28.54, 10.02),
    "resnet-34": (25.03, 7.76),
    "resnet-34-b": (24.52, 7.46),
    "resnet-34-c": (24.19, 7.40),
    "resnet-50-b": (22.85, 6.71),
    "resnet-101-b": (21.75, 6.05),
    "resnet-152-b": (21.43, 5.71),
}
TABLE_2 = ("plain-18", "plain-34", "resnet-18", "resnet-34")  # the rows of TABLE_3 that it has
TABLE_3_PEERS = {"VGG-16": (28.07, 9.33), "GoogLeNet": (None, 9.15), "PReLU-net": (24.27, 7.38)}

# Table 4: ImageNet validation, fully convolutional at five scales, top-1 and top-5.
TABLE_4 = {
    "resnet-34-b": (21.84, 5.71),
    "resnet-34-c": (21.53, 5.60),
    "resnet-50-b": (20.74, 5.25),
    "resnet-101-b": (19.87, 4.60),
    "resnet-152-b": (19.38, 4.49),
}
TABLE_4_PEERS = {
    "VGG (ILSVRC'14; test set)": (None, 8.43),
    "GoogLeNet": (None, 7.89),
    "VGG (v5)": (24.4, 7.1),
    "PReLU-net": (21.59, 5.71),
    "BN-inception": (21.99, 5.81),
}

# Table 5: ensembles, top-5 on the test set, whose labels are not public.
TABLE_5 = {
    "VGG (ILSVRC'14)": 7.32,
    "GoogLeNet": 6.66,
    "VGG (v5)": 6.8,
    "PReLU-net": 4.94,
    "BN-inception": 4.82,
    "ResNet (ILSVRC'15)": 3.57,
}

# Table 1: multiply-adds of the ImageNet nets; section 4.1 and Figure 3 have those of VGG.
TABLE_1 = {"18": 1.8e9, "34": 3.6e9, "50": 3.8e9, "101": 7.6e9, "152": 11.3e9, "VGG-16": 15.3e9, "VGG-19": 19.6e9}

# Test error and standard deviation over five seeds in a public reproduction, https://github.com/nabla0001/resnet:
# 45,000 training images, fp32, 64,000 iterations, last iteration. The paper draws the errors of plain nets (Figure 6)
# and prints none.
REPRODUCTION = {
    "plain-20": (9.78, 0.13),
    "plain-56": (12.95, 0.22),
    "resnet-20": (8.51, 0.22),
    "resnet-56": (7.40, 0.27),
    "resnet-110": (7.14, 0.20),
}
# Plain-110 ends above 60% in the paper (section 4.2).
PLAIN_110_ABOVE = 60.0
RESNET_1202_TRAIN_UNDER = 0.1
# Differences in top-1 error between shortcut options in Table 3: the largest one, between A and C.
OPTIONS_APART = 25.03 - 24.19
