"""What the study says of where its numbers come from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.study.provenance import command_line, commit


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run_search.py", "--trials", "3"], "python run_search.py --trials 3"),
        (["run_search.py", "--study", "two words"], "python run_search.py --study 'two words'"),
        (
            ["run_search.py", "--storage", "postgresql://me:secret@host/db"],
            "python run_search.py --storage 'postgresql://me:***@host/db'",
        ),
        (
            ["run_search.py", "--storage=mysql://me:secret@host/db"],
            "python run_search.py '--storage=mysql://me:***@host/db'",
        ),
        (
            ["run_search.py", "--storage", "sqlite:///study.db"],
            "python run_search.py --storage sqlite:///study.db",
        ),
    ],
)
def test_the_command_is_quoted_and_hides_passwords(
    arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert command_line(arguments) == line


@pytest.mark.parametrize("inside", [True, False])
def test_the_command_runs_where_the_environment_is_not_active(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.chdir(Path(sys.executable).parents[1] if inside else tmp_path)
    line = command_line(["-c", "import optuna"])
    assert Path(line.split()[0]).is_absolute() != inside
    subprocess.run(line, shell=True, check=True)


def test_the_commit_is_known() -> None:
    assert len(commit()) >= 7
