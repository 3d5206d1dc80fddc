"""Packages that only an extra brings: imported where they are needed, or it is said how to get them."""

import importlib
from types import ModuleType

from wmgym.errors import DependencyError


def how_to_install(extra: str) -> str:
    """Return the command that installs an extra of wmgym, and where to give it."""
    return f"pip install -e '.[{extra}]' in a clone of wmgym"


def import_extra(module: str, package: str, without: str, extra: str) -> ModuleType:
    """Return a module of a package that may not be installed.

    Args:
        module: What to import.
        package: The package's name, for the message.
        without: What cannot be done without it, for the message.
        extra: The extra of wmgym that brings it.

    Raises:
        DependencyError: It is missing, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(
            f"{without} without {package} ({error}). Install it with: {how_to_install(extra)}"
        ) from error
