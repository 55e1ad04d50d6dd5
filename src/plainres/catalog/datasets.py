"""The data sets of the study.

Data modules, training and the report all read these descriptions. To add a data set, add its description here and its
loader to the data module of its family.
"""

from dataclasses import dataclass, field

TRAIN_SETS = ("50k", "45k")


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """The facts about one data set.

    Attributes:
        name: Value of `RunConfig.dataset`, and the first part of a study's name.
        title: Name in titles and captions.
        family: `"cifar"` for small images that are kept in memory, `"imagenet"` for folders of photographs. The family
            decides which nets and which data module a run uses.
        num_classes: Number of classes. Folders of photographs may have another number.
        image_size: Height and width of the images that a net is trained on, in pixels.
        batch_size: Batch size of the paper's protocol, or of the demo. Names of nets mention any other.
        warmup_depth: Depth from which nets start at a tenth of the learning rate, if the configuration leaves it open.
        sizes: Number of images of each part, for each training set (`RunConfig.train_set`). Empty if only the files
            can tell.
        test_pass_cost: Training iterations that take as long as one pass over the test set, measured on a CPU. On a GPU
            there are probably more, but the points at which a run is tested belong to its record and must not depend
            on the device.
        paper_iterations: The paper's number of iterations, or its protocol's if the paper does not use the data set.
        paper_tables: The paper's tables of results on this data set. None if there are none, in which case results
            are compared with no published figures.
        top5: Whether the error of the five best guesses is recorded as well.
        warning: What titles of figures and tables must add, for example that the data are synthetic.
    """

    name: str
    title: str
    family: str
    num_classes: int
    image_size: int
    batch_size: int = 128
    warmup_depth: int = 110
    sizes: dict[str, dict[str, int]] = field(default_factory=dict, hash=False)
    test_pass_cost: int
    paper_iterations: int = 64_000
    paper_tables: str | None = None
    top5: bool = False
    warning: str = ""

    @property
    def has_fixed_format(self) -> bool:
        """Whether the number of classes and the size of the images are the same in every run."""
        return bool(self.sizes)

    @property
    def train_sets(self) -> tuple[str, ...]:
        """The training sets that `RunConfig.train_set` can name."""
        return tuple(self.sizes) or ("50k",)


def _cifar_sizes() -> dict[str, dict[str, int]]:
    return {"50k": {"train": 50_000, "test": 10_000}, "45k": {"train": 45_000, "test": 10_000, "val": 5_000}}


CIFAR10 = DatasetInfo(
    name="cifar10",
    title="CIFAR-10",
    family="cifar",
    num_classes=10,
    image_size=32,
    sizes=_cifar_sizes(),
    test_pass_cost=26,
    paper_tables="Table 6",
)
CIFAR100 = DatasetInfo(
    name="cifar100",
    title="CIFAR-100",
    family="cifar",
    num_classes=100,
    image_size=32,
    sizes=_cifar_sizes(),
    test_pass_cost=26,
)
DEMO = DatasetInfo(
    name="demo",
    title="demo set",
    family="cifar",
    num_classes=10,
    image_size=16,
    batch_size=64,
    warmup_depth=32,
    sizes={"50k": {"train": 5_120, "test": 1_280}},
    test_pass_cost=7,
    warning="DEMO SET, not CIFAR-10",
)
IMAGENET = DatasetInfo(
    name="imagenet",
    title="ImageNet",
    family="imagenet",
    num_classes=1000,
    image_size=224,
    batch_size=256,
    test_pass_cost=65,
    paper_iterations=600_000,
    paper_tables="Tables 2 to 5",
    top5=True,
)

DATASETS = {info.name: info for info in (CIFAR10, CIFAR100, DEMO, IMAGENET)}
