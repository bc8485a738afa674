"""Damaged journals, and those of somebody else: each is read, or refused in one line."""

import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import optuna
import pytest

from reporting.plan import Plan
from reporting.settings import ReportSettings
from reporting.study_tables import (
    duplicates,
    epochs_trained,
    failure_reasons,
    read_study,
    seconds_taken,
    start_and_end,
)
from search.data.split import SplitSizes
from search.errors import SearchError
from spaces import SpaceError
from tests.command_line import ROOT
from tests.reporting.made_evidence import CLOTHING

JOURNAL: Final = ROOT / "results" / "reference" / "cnn" / "study.journal"
Line = dict[str, Any]
Damage = Callable[[random.Random, list[str]], None]

WRONG: Final[list[Any]] = [
    *(None, True, -1, 0, 0.5, 10**18, 10**30, 10**400, float("nan"), float("inf"), -float("inf")),
    *("", "x", "\x1b[31mred", "a\nb", "\ud800", "9" * 5000, "None", "{}"),
    *([], [1], ["x", None], {}, {"x": 1}, {"train": None, "val": None}, [[[]]]),
]


def nested(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"x": [value]}
    return value


def wrong(rng: random.Random) -> Any:
    return nested(rng.choice([60, 150, 300])) if rng.random() < 0.05 else rng.choice(WRONG)


def leaf(rng: random.Random, line: Line) -> tuple[Any, Any]:
    """A random container in a line, and the key of one of its values."""
    inside: Any = line
    while True:
        key = rng.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
        if not isinstance(inside[key], dict | list) or not inside[key] or rng.random() < 0.2:
            return inside, key
        inside = inside[key]


def on_a_line(change: Callable[[random.Random, Line], None]) -> Damage:
    """Change the JSON of a line; the first lines, with the facts of the study, are likelier."""

    def damage(rng: random.Random, lines: list[str]) -> None:
        place = rng.randrange(min(18 if rng.random() < 0.5 else 400, len(lines)))
        with contextlib.suppress(ValueError, RecursionError):  # damaged already
            line = json.loads(lines[place])
            if isinstance(line, dict):
                change(rng, line)
                lines[place] = json.dumps(line)

    return damage


def replace(rng: random.Random, line: Line) -> None:
    inside, key = leaf(rng, line)
    inside[key] = wrong(rng)


def remove(rng: random.Random, line: Line) -> None:
    inside, key = leaf(rng, line)
    del inside[key]


def rename(rng: random.Random, line: Line) -> None:
    inside, key = leaf(rng, line)
    if isinstance(inside, dict):
        inside[rng.choice(["x", "a\x1b]0;x\x07", "\n", "\ud800", "=1+1", "<b>"])] = inside.pop(key)


def other_operation(rng: random.Random, line: Line) -> None:
    line["op_code"] = rng.choice([0, 1, 4, 5, 6, 7, 8, 9, 10, 11, -1])


def other_distribution(rng: random.Random, line: Line) -> None:
    if "distribution" in line:
        line["distribution"] = json.dumps(
            rng.choice(
                [
                    {"name": "FloatDistribution", "attributes": {"low": low, "high": high}}
                    for low in (0, "a", None, -1e308, float("nan"))
                    for high in (1, [], 1e308, float("inf"))
                ]
                + [
                    {"name": "CategoricalDistribution", "attributes": {"choices": choices}}
                    for choices in ([1, 2], [], "ab", [nested(3)], ["\x1b[2J"], 7)
                ]
                + [{"name": "X", "attributes": {}}, {"type": "int", "low": 0, "high": 3}, [], 3]
            )
        )


def truncate(rng: random.Random, lines: list[str]) -> None:
    whole = "\n".join(lines)
    lines[:] = whole[: rng.randrange(len(whole))].split("\n")


def drop_lines(rng: random.Random, lines: list[str]) -> None:
    place = rng.randrange(len(lines))
    del lines[place : place + rng.choice([1, 1, 10])]


def double_lines(rng: random.Random, lines: list[str]) -> None:
    place = rng.randrange(len(lines))
    lines[place:place] = lines[place : place + rng.choice([1, 10])]


def swap_lines(rng: random.Random, lines: list[str]) -> None:
    one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]


def no_json(rng: random.Random, lines: list[str]) -> None:
    place = rng.randrange(len(lines))
    lines[place] = rng.choice(["", "x", "[]", "3", "null", "[" * 100_000, '{"a":', "\x00\xff"])


def scramble(rng: random.Random, lines: list[str]) -> None:
    place = rng.randrange(len(lines))
    letters = list(lines[place])
    for _ in range(3):
        letters[rng.randrange(len(letters))] = rng.choice('"{}[]:,0-\\x')
    lines[place] = "".join(letters)


DAMAGES: Final[list[Damage]] = [
    *[on_a_line(replace)] * 6,
    *[on_a_line(remove)] * 2,
    on_a_line(rename),
    on_a_line(other_operation),
    *[on_a_line(other_distribution)] * 2,
    *(truncate, drop_lines, double_lines, swap_lines, no_json, scramble),
]


def damaged(lines: list[str], seed: int) -> str:
    rng = random.Random(seed)
    damaged_lines = list(lines)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        rng.choice(DAMAGES)(rng, damaged_lines)
    return "\n".join(damaged_lines) + "\n"


def read(results: Path) -> Any:
    record = read_study(results, "cnn", None)
    for part in (duplicates, epochs_trained, failure_reasons, seconds_taken, start_and_end):
        part(record)
    plan = Plan(
        ReportSettings(results_dir=results).for_study(8, SplitSizes(val=10_000)),
        record,
        CLOTHING,
        60_000,
    )
    assert plan.due({})
    return record


def test_each_damaged_journal_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    lines = JOURNAL.read_text().splitlines()[:300]
    journal = tmp_path / "cnn" / "study.journal"
    journal.parent.mkdir()
    refused = 0
    for seed in range(200):
        journal.write_text(damaged(lines, seed), encoding="utf-8", errors="surrogatepass")
        try:
            read(tmp_path)
        except (SearchError, SpaceError) as error:
            refused += 1
            assert str(error).isprintable(), seed
            assert len(str(error)) < 1000, seed
        except Exception as error:
            pytest.fail(f"seed {seed}: {error!r}")
    assert 50 < refused < 180
