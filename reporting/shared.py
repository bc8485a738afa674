"""Keys of shared baselines, from the code and the machine that determine their results.

Baselines do not depend on the search, so the studies of a results folder share them.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from search.study.provenance import syntax
from search.training.hardware import machine, versions

FOLDER: Final = ".baselines"
# Code that builds a model, trains it and reads its images.
_CODE: Final = ("spaces", "search/training", "search/data")
_ROOT: Final = Path(__file__).parents[1]


def shared_key(content: Mapping[str, Any]) -> str:
    """Return the name of the folder of a baseline.

    Args:
        content: What it is trained with; the code that trains it, the versions of the packages and
            the machine are added. The machine is part of it because the report compares times.
    """
    here = {"code": code_digest(), "machine": machine(), "versions": versions()}
    encoded = json.dumps({**content, **here}, sort_keys=True).encode()
    return hashlib.sha256(encoded).hexdigest()[:16]


@functools.cache
def code_digest(root: Path = _ROOT) -> str:
    """Return the digest of the source code that a baseline depends on, by its `syntax`.

    Args:
        root: Folder of this project.
    """
    digest = hashlib.sha256()
    files = [file for folder in _CODE for file in sorted((root / folder).rglob("*.py"))]
    for file in files:
        digest.update(f"{file.relative_to(root)}\n{syntax(file)}\n".encode())
    return digest.hexdigest()
