"""The optional dependencies: what `pip install 'plainres[NAME]'` adds, and one line where it is missing."""

from importlib.util import find_spec

from plainres.errors import UserError

# Modules that the commands import, by the extra of pyproject.toml that installs them.
EXTRAS = {
    "report": ("altair", "jinja2", "matplotlib", "scipy", "tabulate", "vl_convert"),
    "dashboard": ("wandb", "wandb_workspaces"),
    "cluster": ("ray",),
}


def require_extra(name: str, what: str) -> None:
    """Check that the packages of an extra are installed, before anything imports them.

    Nothing is imported here. A package that is installed but broken raises its own error where it is imported. The
    message says what requires the extra.

    Raises:
        UserError: If a package is not installed.
    """
    missing = [module for module in EXTRAS[name] if find_spec(module) is None]
    if missing:
        raise UserError(
            f"{what} requires {', '.join(missing).replace('_', '-')}, not installed: pip install 'plainres[{name}]'"
        )
