"""Collect the code that the nodes of a cluster need."""

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path

from spaces import SPACES, SpaceError, look_in_current_directory

_ROOT = Path(__file__).resolve().parents[3]
_PACKAGES = ("search", "spaces")
BESIDE = "beside"  # added last to the path, so that its modules hide none of the node's
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*", "results")


def collect_code(space: str, folder: Path, packages: Sequence[str] = _PACKAGES) -> None:
    """Copy the packages of this project that a worker imports, and the user's space.

    Args:
        space: Name of the space. A package is copied whole; a single module together with the
            Python files beside it, which it may import. Installed packages are not copied: the
            nodes must have them.
        folder: Destination.
        packages: Packages of this project.

    Raises:
        SpaceError: The space's module does not exist.
    """
    for package in packages:
        shutil.copytree(_ROOT / package, folder / package, ignore=_LEFT_OUT)
    module = space.partition(":")[0].partition(".")[0]
    if space in SPACES or module in packages:
        return
    spec = _find(module)
    folders = [Path(one) for one in spec.submodule_search_locations or ()]
    origin = folders[0] if folders else Path(spec.origin or "")
    if _is_installed(origin):
        return
    (folder / BESIDE).mkdir()
    for one in folders:
        shutil.copytree(one, folder / BESIDE / module, ignore=_LEFT_OUT, dirs_exist_ok=True)
    if not folders:
        for file in origin.parent.glob("[!.]*.py"):
            if file.is_file():
                shutil.copy(file, folder / BESIDE)


def _find(module: str) -> ModuleSpec:
    look_in_current_directory()
    spec = importlib.util.find_spec(module)
    if spec is None:
        raise SpaceError(
            f"there is no module {module!r} in {os.getcwd()} or on the Python path; run from its "
            "folder, or set PYTHONPATH."
        )
    return spec


def _is_installed(origin: Path) -> bool:
    homes = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")}
    return any(origin.is_relative_to(home) for home in homes)
