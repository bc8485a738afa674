"""The code that a job brings to the nodes of a cluster."""

import importlib.util
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from spaces import SPACES

_ROOT = Path(__file__).resolve().parent.parent.parent
_PACKAGES = ("search", "spaces")


def collect_code(space: str, folder: Path, packages: Sequence[str] = _PACKAGES) -> None:
    """Copy what a worker imports, and no more: this project and the space's own module.

    Args:
        space: Name of the space. Of a module that is no package, all Python files beside it come
            along, since it may import them; one that is installed is left to the nodes.
        folder: Takes the copies.
        packages: Of this project.
    """
    ignored = shutil.ignore_patterns("__pycache__")
    for package in packages:
        shutil.copytree(_ROOT / package, folder / package, ignore=ignored)
    module = space.partition(":")[0].partition(".")[0]
    if space in SPACES or module in packages:
        return
    origin = _find(module)
    if origin is None or _is_installed(origin):
        return
    if origin.name == "__init__.py":
        shutil.copytree(origin.parent, folder / module, ignore=ignored, dirs_exist_ok=True)
        return
    for file in origin.parent.glob("*.py"):
        shutil.copy(file, folder)


def _find(module: str) -> Path | None:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    spec = importlib.util.find_spec(module)
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _is_installed(origin: Path) -> bool:
    homes = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")}
    return any(origin.is_relative_to(home) for home in homes)
