"""Versions of what a result depends on; told without importing any of it."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

_PACKAGES: Final = ("tensorflow", "keras", "optuna", "keras-tuner", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
