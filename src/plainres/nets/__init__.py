"""The nets of the paper in plain PyTorch. Nothing here depends on Lightning, on data or on files of results."""

from plainres.nets.cifar import cifar_net
from plainres.nets.complexity import Complexity, count_complexity
from plainres.nets.identity_extension import extend_with_identity
from plainres.nets.imagenet import imagenet_net
from plainres.nets.weights import load_net

__all__ = ["Complexity", "cifar_net", "count_complexity", "extend_with_identity", "imagenet_net", "load_net"]
