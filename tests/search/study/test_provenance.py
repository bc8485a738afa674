"""What the study says of where its numbers come from."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from search.command_line.parser import COMMANDS
from search.study import provenance
from search.study.provenance import command_line, commit, module_digest
from tests.command_line import ROOT


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run_search.py", "--trials", "3"], "python run_search.py --trials 3"),
        (["run_search.py", "--study", "two words"], "python run_search.py --study 'two words'"),
        (
            ["run_search.py", "--storage", "postgresql://me:secret@host/db", "--quiet"],
            "SEARCH_STORAGE='postgresql://me:***@host/db' python run_search.py --quiet",
        ),
        (
            ["run_search.py", "--storage=mysql://me:secret@host/db"],
            "SEARCH_STORAGE='mysql://me:***@host/db' python run_search.py",
        ),
        (
            ["run_search.py", "--storage", "postgresql://me@host/db"],
            "python run_search.py --storage postgresql://me@host/db",
        ),
        (
            ["run_search.py", "--cluster", "ray://head:10001"],
            "python run_search.py --cluster ray://head:10001",
        ),
        (
            ["run_search.py", "--on-end", "curl https://host/secret", "--quiet"],
            "python run_search.py --on-end '***' --quiet",
        ),
        (
            ["run_search.py", "--on-end=curl https://host/secret"],
            "python run_search.py '--on-end=***'",
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
    monkeypatch.chdir(ROOT)
    assert command_line(arguments) == line


def test_the_command_names_a_storage_that_the_environment_gave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    monkeypatch.setenv("SEARCH_STORAGE", "postgresql://me:secret@host/db")
    line = command_line(["report.py", "--study", "a"])
    assert line == "SEARCH_STORAGE='postgresql://me:***@host/db' python report.py --study a"
    line = command_line(["report.py", "--storage", "sqlite:///other.db"])
    assert line == "python report.py --storage sqlite:///other.db"


@pytest.mark.parametrize("script", COMMANDS)
def test_the_command_names_the_script_by_its_path_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command_line([script, "--help"]))
    assert words[1:] == [str(ROOT / script), "--help"]
    subprocess.run(words, check=True, capture_output=True)
    monkeypatch.chdir(ROOT / "docs")
    assert shlex.split(command_line([script]))[1] == str(ROOT / script)


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


@pytest.mark.parametrize(("active", "shown"), [(True, ""), (False, "bin/")])
def test_an_installed_command_names_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, active: bool, shown: str
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for command in COMMANDS.values():
        (folder / command).touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(folder) if active else os.defpath)
    monkeypatch.setattr(sys, "argv", [str(folder / "keras-search"), "--trials", "3"])
    assert command_line(["run_search.py", "--trials", "3"]) == f"{shown}keras-search --trials 3"
    assert command_line(["report.py"]) == f"{shown}keras-search-report"


def test_an_installed_package_has_no_commit_of_a_repository_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (["init"], ["commit", "--allow-empty", "-m", "another project"]):
        identity = ["-c", "user.name=me", "-c", "user.email=me@example.com"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    assert commit() == "unknown"


def test_the_code_of_a_space_counts_without_its_layout_and_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "digested_package"
    package.mkdir()
    for file in (package / "__init__.py", package / "inner.py"):
        file.write_text("raise AssertionError")
    module = tmp_path / "digested_space.py"
    module.write_text('"""Words."""\ndef build(hp):\n    raise AssertionError\n')
    first = module_digest("digested_space:build")
    module.write_text("# Other words.\ndef build(hp): raise AssertionError\n")
    assert module_digest("digested_space:build") == first
    module.write_text("def build(hp): return None\n")
    assert module_digest("digested_space:build") not in (None, first)
    module.write_text("no Python")
    assert module_digest("digested_space:build")
    assert module_digest("digested_package.inner:build") == module_digest("digested_package:build")
    nowhere = ("cnn", "sys:path", "digested_package.missing:build", "no_such_module:build")
    assert [module_digest(space) for space in nowhere] == [None] * 4
