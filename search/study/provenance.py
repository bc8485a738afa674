"""Where a number comes from: commit, command and code of a user, as the study stores them."""

import ast
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from search.command_line.flags import STORAGE_VARIABLE
from search.command_line.parser import COMMANDS, called
from search.secrets import masked_url
from spaces import look_in_current_directory

_ROOT = Path(__file__).resolve().parents[2]
_DOCUMENTED: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


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


def module_digest(space: str) -> str | None:
    """Return the digest of the module of a user's space; the module is not run.

    Modules that it imports do not count.

    Args:
        space: As for `spaces.load_space`.

    Returns:
        16 hexadecimal digits, made from `syntax`; None for a built-in space, or without a source.
    """
    module, colon, _ = space.partition(":")
    if not colon:
        return None
    look_in_current_directory()
    package, *parts = module.split(".")
    try:
        spec = find_spec(package)
    except ValueError:  # a module that was made in memory
        return None
    if spec is None:
        return None
    if not parts:
        files = [Path(spec.origin or "")]
    else:  # not by `find_spec`, which runs the packages around it
        places = [Path(folder, *parts) for folder in spec.submodule_search_locations or ()]
        files = [file for one in places for file in (one.with_suffix(".py"), one / "__init__.py")]
    source = next((file for file in files if file.suffix == ".py" and file.is_file()), None)
    return None if source is None else hashlib.sha256(syntax(source).encode()).hexdigest()[:16]


def syntax(file: Path) -> str:
    """Return the code of a Python file without comments and docstrings, in a uniform layout.

    A file that is no Python is returned as it is.
    """
    content = file.read_bytes()
    try:
        with warnings.catch_warnings(action="ignore"):  # of the user's code, twice
            tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return content.decode(errors="replace")
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.unparse(tree)  # unlike `ast.dump`, the same in all versions of Python


def command_line(arguments: Sequence[str]) -> str:
    """Return the command that gives these arguments, without secrets; quoted for a shell.

    A storage whose URL holds a secret, or that came from the environment, is set in the
    environment of the command: the list of processes shows every argument.

    Args:
        arguments: `sys.argv`: the name of the script, then its arguments. In a process that an
            installed command started, the script's command stands for it.
    """
    script, *rest = arguments
    program = called(script)
    if program == script:
        path = str(_ROOT / script) if script in COMMANDS else script
        shown = [_shown(sys.executable), _shown(path)]
    else:
        shown = [_shown(os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), program))]
    storage = os.environ.get(STORAGE_VARIABLE)
    words = iter(rest)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag == "--storage":
            url = value if equals else next(words, "")
            if masked_url(url) == url:
                shown += [word] if equals else [word, url]
                storage = None
            else:
                storage = url
        elif "://" in word:
            in_flag = equals and flag.startswith("--")
            shown.append(f"{flag}={_masked(value)}" if in_flag else _masked(word))
        else:
            shown.append(word)
    before = f"{STORAGE_VARIABLE}={shlex.quote(masked_url(storage))} " if storage else ""
    return before + shlex.join(shown)


def _masked(word: str) -> str:
    """Return a URL without secrets; a command that contains a URL (`--on-end`) is hidden."""
    return masked_url(word) if re.match(r"[\w+.-]+://", word) else "***"


def install_command(packages: Sequence[str]) -> str:
    """Return the command that installs packages for this Python."""
    return f"{_shown(sys.executable)} -m pip install {' '.join(packages)}"


def _shown(program: str) -> str:
    """Return how to call a program here: by name if it is on the PATH, else by path."""
    name = os.path.basename(program)
    found = shutil.which(name)
    if found is not None and os.path.abspath(found) == program:
        return name
    beside = os.path.relpath(program)
    return program if beside.startswith(os.pardir) else beside
