"""Where a number comes from: commit and command, as the study stores them."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from search.command_line import called
from search.study.storage import mask_password

_ROOT = Path(__file__).resolve().parents[2]


def commit() -> str:
    """The git commit of this project, marked `-dirty` when files differ from it; or `unknown`."""
    if not (_ROOT / "pyproject.toml").exists():
        return "unknown"  # an installed package: a repository around it is another project's
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
        arguments: `sys.argv`: the script, then its arguments. In a process that an installed
            command started, the script's command stands for it.
    """
    script, *rest = arguments
    program = called(script)
    if program == script:
        shown = [_shown(sys.executable), script]
    else:
        shown = [_shown(os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), program))]
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if "://" in argument:
            argument = (
                f"{flag}={mask_password(value)}"
                if equals and flag.startswith("--")
                else (mask_password(argument))
            )
        shown.append(argument)
    return shlex.join(shown)


def _shown(program: str) -> str:
    """A program as it is called here: by name where the PATH finds it, else by path."""
    name = os.path.basename(program)
    found = shutil.which(name)
    if found is not None and os.path.abspath(found) == program:
        return name
    beside = os.path.relpath(program)
    return program if beside.startswith(os.pardir) else beside
