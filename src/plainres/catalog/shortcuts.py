"""The kinds of shortcut connections of the study.

Nets, configurations and the report all read these descriptions. To add a kind, add its description here and its block
to `nets/blocks.py`.
"""

from dataclasses import dataclass

FAMILIES = ("cifar", "imagenet")


@dataclass(frozen=True, kw_only=True)
class ShortcutInfo:
    """The facts about one kind of shortcut connection.

    Attributes:
        option: Value of `RunConfig.shortcut` and of the `shortcut` argument of the nets.
        kind: Group that the report draws together: `"plain"`, `"residual"`, `"highway"` or `"pre-activation"`.
        prefix: First part of a net's name, before its depth.
        suffix: Last part of a net's name, after its depth.
        families: Families of nets that have blocks of this kind.
    """

    option: str | None
    kind: str
    prefix: str
    suffix: str = ""
    families: tuple[str, ...] = FAMILIES


# Section 3.3 defines options A, B and C. Highway networks: Srivastava et al. (2015), section 2 of the paper.
# Pre-activation: He et al., "Identity Mappings in Deep Residual Networks" (2016), the authors' follow-up.
SHORTCUTS = {
    info.option: info
    for info in (
        ShortcutInfo(option=None, kind="plain", prefix="plain"),
        ShortcutInfo(option="A", kind="residual", prefix="resnet"),
        ShortcutInfo(option="B", kind="residual", prefix="resnet", suffix="-b"),
        ShortcutInfo(option="C", kind="residual", prefix="resnet", suffix="-c"),
        ShortcutInfo(option="highway", kind="highway", prefix="highway", families=("cifar",)),
        ShortcutInfo(option="preact", kind="pre-activation", prefix="preact", families=("cifar",)),
    )
}
KINDS = tuple(dict.fromkeys(info.kind for info in SHORTCUTS.values()))


def shortcuts_of(family: str) -> tuple[str | None, ...]:
    """The options that the nets of a family can have."""
    return tuple(info.option for info in SHORTCUTS.values() if family in info.families)
