"""Consistency of the project: dependencies, documentation, and committed figures and tables with the records."""

import ast
import doctest
import json
import re
import sys
import tomllib
from importlib.metadata import distributions, packages_distributions

import pytest
import torch
import yaml
from helpers import ROOT
from packaging.specifiers import SpecifierSet

import plainres.extras
from plainres.data.cifar_files import load_cifar
from plainres.nets import load_net
from plainres.report import Results
from plainres.report.document import README_MARKS, readme_section
from plainres.report.records import largest_study

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
README_WORDS = 800  # one screen, without the generated section
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# The nets that had the paper's whole budget.
WEIGHTS = sorted((ROOT / "results").glob("cifar10-64k-*/*/seed-*/weights.safetensors"))
STUDIES = [study for study in Results(ROOT / "results").studies if study.runs and study.dataset == "CIFAR-10"]


def split(requirement):
    name, specifier = re.fullmatch(r"([A-Za-z0-9_.-]+)(.*)", requirement.replace(" ", "")).groups()
    return name.lower(), specifier


def requirements():
    installed = ("report", "dev", "notebooks", "dashboard", "terminal")
    installed = [line for extra in installed for line in EXTRAS[extra]]
    return dict(map(split, PROJECT["dependencies"] + installed))


def imported_modules(path):
    """Return the top-level modules that a file imports, also within functions."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.add(node.module)
    return {module.partition(".")[0] for module in modules}


def has_unspecified_encoding(call):
    """Return whether a call reads or writes text as the locale says: of a file, or in pipes of a process."""
    keywords = {keyword.arg for keyword in call.keywords}
    if "encoding" in keywords:
        return False
    match ast.unparse(call.func).rpartition(".")[::2]:
        case _, "read_text" | "write_text":
            return True
        case "subprocess", _:
            return bool(keywords & {"text", "universal_newlines"})
        case "", "open":
            return "b" not in "".join(map(ast.unparse, call.args[1:]))
    return False


def test_no_encoding_is_left_to_the_locale():
    """ruff has a rule for it (PLW1514), but only as a preview."""
    calls = [
        (path, node)
        for folder in ("src", "experiments")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    assert not [f"{path}:{call.lineno}" for path, call in calls if has_unspecified_encoding(call)]
    for code in ("path.read_text()", "open(path, 'w')", "subprocess.run(command, text=True)"):
        assert has_unspecified_encoding(ast.parse(code, mode="eval").body)


def test_conda_environment_has_the_same_ranges():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    *lines, by_pip = environment["dependencies"]
    conda = dict(split(line) for line in lines + [line for line in by_pip["pip"] if not line.startswith("--")])
    expected = requirements() | {"python": PROJECT["requires-python"], "pip": ""}
    expected["pytorch"] = expected.pop("torch")
    assert conda == expected


def test_installed_packages_support_every_release_of_python_3_11():
    """Distributions of Linux have early releases: Debian 12 has 3.11.2. Only the pinned versions are ours to judge."""
    pinned = dict(map(split, (ROOT / "constraints.txt").read_text("utf-8").splitlines()[1:]))
    installed = [package for package in distributions() if package.name.lower() in pinned]
    if not all(SpecifierSet(pinned[package.name.lower()]).contains(package.version) for package in installed):
        pytest.skip("the installed versions are not those of constraints.txt")
    needs = {package.name: package.metadata.get("Requires-Python") for package in installed}
    assert needs
    assert not [name for name, python in needs.items() if python and "3.11.0" not in SpecifierSet(python)]


def test_every_dependency_has_an_exact_tested_version():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    exact = {line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert requirements().keys() | dict(map(split, EXTRAS["docs"])).keys() <= exact


def test_every_imported_package_is_declared():
    files = [path for folder in ("src", "experiments", "tests") for path in (ROOT / folder).rglob("*.py")]
    own = {path.stem for path in files} | {"plainres"}
    imported = set().union(*map(imported_modules, files)) - sys.stdlib_module_names - own
    declared = requirements().keys() | {split(line.replace("[default]", ""))[0] for line in EXTRAS["cluster"]}
    distributions = packages_distributions()
    packages = {module: distributions.get(module, [module]) for module in imported}
    missing = [
        module for module, names in packages.items() if declared.isdisjoint(n.lower().replace("_", "-") for n in names)
    ]
    assert not missing


def test_every_extra_of_a_command_is_declared_with_its_packages():
    distributions = packages_distributions()
    for extra, modules in plainres.extras.EXTRAS.items():
        declared = {re.split(r"[\[>]", line)[0].replace("-", "_") for line in EXTRAS[extra]}
        names = {distributions.get(module, [module])[0].replace("-", "_").lower() for module in modules}
        assert names == declared


def test_nets_data_and_training_import_no_extra():
    rooms = ("catalog", "nets", "data", "training", "records", "scoring")
    files = [path for room in rooms for path in (ROOT / "src/plainres" / room).rglob("*.py")]
    assert files
    optional = {module for modules in plainres.extras.EXTRAS.values() for module in modules}
    for path in files:
        assert not imported_modules(path) & optional and "plainres.report" not in path.read_text("utf-8"), path


def test_make_help_names_every_target():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()
    assert phony == re.findall(r"^([a-z-]+):.*## ", makefile, re.M)


@pytest.mark.slow
@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: path.parts[-3])
def test_published_weights_give_the_recorded_test_error(path, real_data_dir):
    net = load_net(path).to(memory_format=torch.channels_last)
    pixels, labels = load_cifar("cifar10", real_data_dir, train=False)
    images = pixels.permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        predicted = torch.cat([net(batch).argmax(1) for batch in images.split(100)])
    error = 100 * (predicted != labels).float().mean().item()
    recorded = json.loads((path.parent / "run.json").read_text("utf-8"))["final"]["test_error"]
    assert error == pytest.approx(recorded, abs=0.15), "computed in fp32, recorded in bf16"


def test_readme_shows_the_best_study_as_the_records_say():
    assert readme_section(largest_study(STUDIES), ROOT, Results(ROOT / "results")) in (ROOT / "README.md").read_text(
        "utf-8"
    )


def test_readme_fits_one_screen():
    begin, end = README_MARKS
    before, _, rest = (ROOT / "README.md").read_text("utf-8").partition(begin)
    _, mark, after = rest.partition(end)
    assert mark and len((before + after).split()) <= README_WORDS


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_point_to_existing_files(path):
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8"))
    relative = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert not [link for link in relative if not (path.parent / link).exists()]


@pytest.mark.parametrize("name", ["nets.md", "speed.md"])
def test_numbers_in_the_documentation_are_those_of_the_records(name, tmp_path, monkeypatch):
    for path in ROOT.iterdir():  # examples read the project's files, and write files beside them
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    failed, attempted = doctest.testfile(str(ROOT / "docs" / name), module_relative=False)
    assert attempted and not failed
