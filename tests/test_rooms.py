"""The import order of the rooms: each imports only those that stand before it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What every room of `search` may use: plain helpers that import no room themselves.
BASE = (
    "spaces",
    *("search.errors", "search.escape", "search.files", "search.secrets"),
    *("search.command_line", "search.apart", "search.words"),
)
ORDER = ("search.data", "search.training", "search.workers", "search.study", "search.engines")
ALLOWED = {
    "spaces": ("spaces",),
    **{name: (name, "spaces", *BASE) for name in BASE[1:]},
    **{room: (*BASE, *ORDER[: index + 1]) for index, room in enumerate(ORDER)},
    "search.optuna_tuner": (*BASE, *ORDER, "search.optuna_tuner"),
    "search": ("spaces", "search"),
    "predicting": (*BASE, "search.data", "search.training", "predicting"),
    "reporting": (
        *BASE,
        *ORDER[:-1],
        "search.display",
        "predicting",
        "reporting",
    ),
}


def modules() -> list[str]:
    files = (
        file
        for room in ("spaces", "search", "predicting", "reporting")
        for file in (ROOT / room).rglob("*.py")
    )
    return sorted(".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files)


def imported(module: str) -> Iterator[str]:
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def inside(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_rooms_that_stand_before_its_own(module: str) -> None:
    room = max((room for room in ALLOWED if inside(module, (room,))), key=len)
    ours = [
        name
        for name in imported(module)
        if inside(name, ("spaces", "search", "predicting", "reporting"))
    ]
    assert [name for name in ours if not inside(name, ALLOWED[room])] == []


@pytest.mark.parametrize(
    "room",
    [*ORDER, "search.command_line", "search.optuna_tuner", "predicting", "reporting", "spaces"],
)
def test_a_room_says_its_one_job_in_its_first_line(room: str) -> None:
    text = (ROOT / room.replace(".", "/") / "__init__.py").read_text()
    assert ast.get_docstring(ast.parse(text)), room
