"""Where a number comes from: commit and command, as the study stores them."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from search.study.storage import mask_password

_ROOT = Path(__file__).resolve().parents[2]


def commit() -> str:
    """The git commit of this project, marked `-dirty` when files differ from it; or `unknown`."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip() or "unknown"


def command_line(arguments: Sequence[str]) -> str:
    """The command that gives these arguments, without passwords; quoted for a shell.

    Args:
        arguments: `sys.argv`: the program, then its arguments.
    """
    shown = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if "://" in argument:
            argument = (
                f"{flag}={mask_password(value)}"
                if equals and flag.startswith("--")
                else (mask_password(argument))
            )
        shown.append(argument)
    return shlex.join([_interpreter(), *shown])


def _interpreter() -> str:
    """This Python as it is called here: by name where its environment is active, else by path."""
    named = shutil.which("python")
    if named is not None and os.path.abspath(named) == sys.executable:
        return "python"
    beside = os.path.relpath(sys.executable)
    return sys.executable if beside.startswith(os.pardir) else beside
