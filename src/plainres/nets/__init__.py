"""The paper's nets in plain PyTorch: nothing here knows of training, data or Lightning."""

from plainres.nets.cifar import cifar_net
from plainres.nets.complexity import Complexity, count_complexity
from plainres.nets.construct import extend_with_identity
from plainres.nets.imagenet import imagenet_net
from plainres.nets.weights import load_net

__all__ = ["Complexity", "cifar_net", "count_complexity", "extend_with_identity", "imagenet_net", "load_net"]
