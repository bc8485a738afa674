"""The requirements files name what is imported, where it is needed, and nothing else."""

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = (
    "run_search.py",
    "report.py",
    "predict.py",
    "spaces",
    "search",
    "reporting",
    "predicting",
)
# By file, whose imports it serves beside those of the files before it.
SERVED = {
    "requirements.txt": PROGRAM,
    "requirements-distributed.txt": ("search/workers/ray",),
    "requirements-export.txt": ("reporting/export.py",),
    "requirements-dev.txt": ("tests", "benchmarks", "docs", ".ci"),
}
# Named for another package, which imports them but does not install them.
IMPORTED_BY = {
    "six": "keras_tuner",
    "tensorboard": "keras_tuner",
    "tf2onnx": "keras",
    "cmaes": "optuna",
    "psycopg": "sqlalchemy",
    "pymysql": "sqlalchemy",
    "ipykernel": "jupyter_client",
    "pyarrow": "ray",
    "fsspec": "ray",
    "pydantic": "ray",
}
# Named for the commands and settings in these files.
USED_IN = {
    "mypy": ("Makefile", "/mypy"),
    "pip-audit": (".ci/audit.py", "pip_audit"),
    "pytest-xdist": ("Makefile", "pytest -n auto"),
    "ruff": ("Makefile", "/ruff"),
    "setuptools": ("pyproject.toml", "setuptools.build_meta"),
    "types-psutil": ("search/workers/process.py", "import psutil"),
}
OURS = {"spaces", "search", "reporting", "predicting", "run_search", "report", "predict"}
OURS |= {"tests", "benchmarks", "docs"}
FOR_TYPES = {"_typeshed"}  # exists for mypy only


def lines(file: str) -> list[str]:
    kept = (line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    return [line for line in kept if line]


def normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def named(file: str) -> set[str]:
    return {normal(re.split(r"[\[~=<>!]", line)[0]) for line in lines(file) if line[0] != "-"}


def sources(places: tuple[str, ...], without: tuple[str, ...] = ()) -> Iterator[Path]:
    for place in places:
        path = ROOT / place
        for file in [path] if path.suffix else path.rglob("*.py"):
            if not any(file.is_relative_to(ROOT / other) for other in without):
                yield file


def imported(files: Iterator[Path]) -> dict[str, str]:
    """Return the imported distributions, each with a place that imports it."""
    known, found = packages_distributions(), {}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in (name.partition(".")[0] for name in modules):
                if module not in sys.stdlib_module_names | OURS | FOR_TYPES:
                    place = f"{file.relative_to(ROOT)}:{node.lineno}"
                    found[normal(known.get(module, [module])[0])] = place
    return found


@pytest.mark.parametrize("file", SERVED)
def test_every_requirement_has_a_compatible_release_bound(file: str) -> None:
    bad = [line for line in lines(file) if not re.fullmatch(r"-r \S+|[\w.-]+(\[\w+\])?~=\S+", line)]
    assert bad == []


@pytest.mark.parametrize(("file", "places"), SERVED.items(), ids=SERVED)
def test_every_import_is_named_in_a_file_that_serves_it(file: str, places: tuple[str, ...]) -> None:
    optional = SERVED["requirements-distributed.txt"] + SERVED["requirements-export.txt"]
    files = sources(places, without=optional if file == "requirements.txt" else ())
    available = set[str]()
    for other in SERVED:
        available |= named(other)
        if other == file:
            break
    assert {name: at for name, at in imported(files).items() if name not in available} == {}


@pytest.mark.parametrize(("file", "places"), SERVED.items(), ids=SERVED)
def test_every_named_package_is_used(file: str, places: tuple[str, ...]) -> None:
    used = {*imported(sources(places)), *IMPORTED_BY, *USED_IN}
    assert named(file) - used == set()


def test_no_package_is_named_in_two_files() -> None:
    everywhere = [name for file in SERVED for name in named(file)]
    assert len(everywhere) == len(set(everywhere))


@pytest.mark.parametrize(("distribution", "importer"), IMPORTED_BY.items())
def test_packages_named_for_another_package_are_imported_by_it(
    distribution: str, importer: str
) -> None:
    spec = importlib.util.find_spec(importer)
    assert spec is not None
    assert spec.origin is not None
    pattern = re.compile(
        rf"(import|from) {distribution}\b|Import\(\"{distribution}|t__\(\"{distribution}"
    )
    files = Path(spec.origin).parent.rglob("*.py")
    assert any(pattern.search(file.read_text(encoding="utf-8")) for file in files)


@pytest.mark.parametrize(("distribution", "use"), USED_IN.items(), ids=USED_IN)
def test_packages_named_for_a_file_are_used_there(distribution: str, use: tuple[str, str]) -> None:
    file, text = use
    assert text in (ROOT / file).read_text()


def test_the_exceptions_of_this_test_are_still_named() -> None:
    assert {*IMPORTED_BY, *USED_IN} <= {name for file in SERVED for name in named(file)}


def test_pytest_and_its_workers_keep_groups_of_tests_together(tmp_path: Path) -> None:
    (tmp_path / "test_group.py").write_text(
        "import pytest\n\n\n"
        '@pytest.mark.xdist_group("one")\n'
        '@pytest.mark.parametrize("number", range(8))\n'
        "def test_worker(number, worker_id):\n"
        "    print(worker_id)\n"
    )
    flags = ("-n", "2", "--dist", "loadgroup", "-rP", "-p", "no:cacheprovider")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *flags], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout
    assert len(set(re.findall(r"^gw\d$", ran.stdout, re.MULTILINE))) == 1
