"""Sphinx builds the documentation site from this folder, the docstrings and the executed notebooks: `make docs`."""

import os
import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.logging import getLogger

DOCS = Path(__file__).parent
ROOT = DOCS.parent
# The repository that GitHub builds the site for. In other builds, links to its files are downloads from the site.
REPOSITORY = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/blob/{GITHUB_SHA}"
LINK = re.compile(r"(?<!!)\[([^]]+)\]\((\.\./[^)\s#]+)(#[^)\s]+)?\)")  # [text](../path#fragment), but no image

project = "plainres"
html_theme = "furo"
html_title = "plainres"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

nb_execution_mode = "off"  # `make notebooks` executes them
myst_heading_anchors = 3

autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False  # those of Lightning refer to its own pages
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_use_rtype = False  # the first words of "Returns" are shapes, not types
default_role = "code"


def resolve_links(app: Sphinx, page: str, source: list[str]) -> None:
    """Turn links that are relative to a file of the repository into links to pages of the site or to the repository."""
    folder = (ROOT / page if page.startswith("notebooks/") else DOCS / page).parent

    def resolve(link: re.Match) -> str:
        text, path, fragment = link[1], (folder / link[2]).resolve(), link[3] or ""
        if not path.exists():
            getLogger(__name__).warning("no such file: %s", link[2], location=page)
        if path.parent == DOCS:
            target = f"/{path.name}"
        elif path.suffix == ".ipynb":
            target = f"/notebooks/{path.name}"
        elif "GITHUB_REPOSITORY" in os.environ:
            target = f"{REPOSITORY.format(**os.environ)}/{path.relative_to(ROOT)}"
        else:
            target, fragment = f"path:{os.path.relpath(path, (DOCS / page).parent)}", ""
        return f"[{text}]({target}{fragment})"

    source[0] = LINK.sub(resolve, source[0])


def setup(app: Sphinx) -> None:
    # Sphinx reads pages below its own folder only.
    shutil.copytree(ROOT / "notebooks", DOCS / "notebooks", ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
    app.connect("source-read", resolve_links)
