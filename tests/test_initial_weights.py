"""Initial weights: the same as ever for each seed, and independent of the global random state."""

import hashlib

import pytest
import torch
from helpers import config

from plainres.errors import UserError
from plainres.training import RunConfig
from plainres.training.build import make_net

NETS = {
    "plain-8": {"shortcut": None},
    "resnet-8": {},
    "resnet-8-b": {"shortcut": "B"},
    "resnet-8-c": {"shortcut": "C"},
    "highway-8": {"shortcut": "highway"},
    "preact-8": {"shortcut": "preact"},
    "plain-14-no-bn": {"depth": 14, "shortcut": None, "norm": "none"},
    "plain-14-naive": {"depth": 14, "shortcut": None, "norm": "none", "init": "naive"},
    "imagenet-18": {"dataset": "imagenet", "depth": 18, "shortcut": "B", "batch_size": 256},
}
# Digests of the weights for seeds 0 and 3 when they were drawn from the global random state, after `manual_seed`.
# The committed records were trained from these weights.
GOLDEN = {
    "plain-8": ("60274b5bd6621487", "075ad8f291773e9e"),
    "resnet-8": ("60274b5bd6621487", "075ad8f291773e9e"),
    "resnet-8-b": ("56764f5a4b2ba93c", "81d4d2c8a7f4f5a2"),
    "resnet-8-c": ("c7ccd8df5e09848b", "0c36315041c5b870"),
    "highway-8": ("0e5e27e73f3dedc8", "ed28d40abe7283a5"),
    "preact-8": ("d97be682b673a085", "07356a566c1c3f6e"),
    "plain-14-no-bn": ("98ef0ca32a9c3a2b", "b42c2cc05e51d999"),
    "plain-14-naive": ("7f71006befe92729", "f51d47455a39c76d"),
    "imagenet-18": ("9230a76b29880a71", "621237e784dbc156"),
}


def digest(net):
    hashed = hashlib.sha256()
    for name, parameter in net.named_parameters():
        hashed.update(name.replace("downsample", "shortcut").encode())  # its name then
        hashed.update(parameter.detach().numpy().tobytes())
    return hashed.hexdigest()[:16]


@pytest.mark.parametrize("name", NETS)
def test_initial_weights_are_those_of_the_committed_records(name):
    state = torch.get_rng_state()
    assert (
        tuple(digest(make_net(RunConfig(**{"depth": 8, "seed": seed} | NETS[name]))) for seed in (0, 3)) == GOLDEN[name]
    )
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dataset", ["cifar10", "imagenet"])
def test_classifier_init_changes_the_classifier_alone_and_equally_in_both_twins(dataset):
    def make(shortcut, classifier_init):
        depth = 8 if dataset == "cifar10" else 18
        run = RunConfig(depth=depth, shortcut=shortcut, classifier_init=classifier_init, dataset=dataset)
        return make_net(run).state_dict()

    he = make("A", "he")
    fan_in = he["fc.weight"].shape[1]
    for name, std in (("he", (2 / fan_in) ** 0.5), ("uniform", (3 * fan_in) ** -0.5), ("small", 0.01)):
        residual, plain = make("A", name), make(None, name)
        assert residual["fc.weight"].std().item() == pytest.approx(std, rel=0.1)
        assert not residual["fc.bias"].any()
        assert all(torch.equal(residual[key], he[key]) for key in he if key != "fc.weight")
        assert all(torch.equal(residual[key], plain[key]) for key in plain)
    assert make("A", "uniform")["fc.weight"].abs().max() <= fan_in**-0.5


def test_classifier_init_is_named_and_hashed_unless_it_is_that_of_the_older_records():
    assert config().hash == config(classifier_init="he").hash != config(classifier_init="small").hash
    assert config(depth=56, shortcut=None, classifier_init="small").net == "plain-56-small-classifier-batch32"
    with pytest.raises(UserError, match="classifier_init"):
        config(classifier_init="tiny")
