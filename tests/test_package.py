"""The wheel holds the program and nothing else, and its commands run without the checkout."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from search.command_line.parser import COMMANDS

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.xdist_group("package")  # built once
ROOMS = ("spaces", "search", "reporting", "predicting")


def pip(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", *arguments], check=True, stderr=subprocess.PIPE
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree, folder = tmp_path_factory.mktemp("tree") / "copy", tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "results", "build", "*.egg-info")
    shutil.copytree(ROOT, tree, ignore=ignored)
    pip("wheel", "--no-index", "--no-deps", "--no-build-isolation", "-w", str(folder), str(tree))
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-index", "--no-deps", "--no-compile", "--target", str(folder), str(wheel))
    return folder


def named(file: str) -> list[str]:
    lines = (ROOT / file).read_text().splitlines()
    return [line.partition(" #")[0].strip() for line in lines if line[0] not in "#-"]


def test_the_wheel_holds_the_rooms_the_scripts_and_the_templates(wheel: Path) -> None:
    sources = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    templates = [*(ROOT / "reporting/page/templates").iterdir()]
    expected = {str(file.relative_to(ROOT)) for file in (*sources, *templates)} | {*COMMANDS}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert templates
    assert held == expected


def test_the_wheel_requires_what_the_requirements_files_name(installed: Path) -> None:
    [information] = installed.glob("*.dist-info")
    requires = PathDistribution(information).requires or []
    required = [re.sub(r"[\s()\"']", "", line) for line in requires]
    extras = [
        f"{line};extra=={extra}"
        for extra in ("distributed", "export")
        for line in named(f"requirements-{extra}.txt")
    ]
    assert sorted(required) == sorted([*named("requirements.txt"), *extras])


def test_every_script_has_a_command() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {
        command: f"{script.removesuffix('.py')}:main" for script, command in COMMANDS.items()
    }


@pytest.mark.parametrize("command", COMMANDS.values())
def test_a_command_runs_beside_modules_of_the_same_name(
    installed: Path, tmp_path: Path, command: str
) -> None:
    for room in ROOMS:
        (tmp_path / f"{room}.py").write_text("raise SystemExit('the wrong module')")
    run = subprocess.run(
        [sys.executable, installed / "bin" / command, "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"usage: {command} [-h]")


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ("keras-search", ["--trials", "0"]),
        ("keras-search-report", ["--seeds", "0"]),
        ("keras-search-predict", []),
    ],
)
def test_an_error_of_a_command_starts_with_its_name(
    installed: Path, tmp_path: Path, command: str, given: list[str]
) -> None:
    run = subprocess.run(
        [sys.executable, installed / "bin" / command, *given],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert run.stderr.startswith(f"{command}: ")
    assert run.stderr.count("\n") == 1
