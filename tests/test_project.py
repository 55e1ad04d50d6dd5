"""What must stay in step: dependency files with each other, committed figures and README with the records."""

import re
import tomllib

import pytest
import yaml
from helpers import ROOT

from plainres.report import find_studies
from plainres.report.degradation import verdict
from plainres.report.tables import table_6_markdown
from plainres.report.write import front_study, readme_section

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STUDIES = [study for study in find_studies(ROOT / "results") if study.runs and study.dataset == "CIFAR-10"]


def split(requirement):
    name, specifier = re.fullmatch(r"([A-Za-z0-9_.-]+)(.*)", requirement.replace(" ", "")).groups()
    return name.lower(), specifier


def requirements():
    extras = PROJECT["optional-dependencies"]
    return dict(map(split, PROJECT["dependencies"] + extras["dev"] + extras["notebooks"] + extras["dashboard"]))


def test_conda_environment_has_the_same_ranges():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *lines, by_pip = environment["dependencies"]
    conda = dict(split(line) for line in lines + [line for line in by_pip["pip"] if not line.startswith("--")])
    expected = requirements() | {"python": PROJECT["requires-python"], "pip": ""}
    expected["pytorch"] = expected.pop("torch")
    assert conda == expected


def test_every_dependency_has_an_exact_tested_version():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    exact = {line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    assert requirements().keys() <= exact


def test_make_help_names_every_target():
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()
    assert phony == re.findall(r"^([a-z-]+):.*## ", makefile, re.M)


def test_committed_evidence_exists():
    assert STUDIES


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_committed_tables_are_what_the_records_say(study):
    assert (study.folder / "table6.md").read_text() == table_6_markdown(study)
    assert (study.folder / "verdict.md").read_text() == verdict(study)
    assert (study.folder / "figure6.png").exists()


def test_readme_shows_the_best_study_as_the_records_say():
    assert readme_section(front_study(STUDIES), ROOT) in (ROOT / "README.md").read_text()
