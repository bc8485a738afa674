"""Flags that follow from settings, and one line for a wrong one."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from search.command_line.flags import check_flags, flag, flags_of, given_flags, help_text
from search.command_line.parser import Parser, add_flags, read_flags
from search.errors import SettingsError


def test_a_wrong_flag_is_one_line_with_the_name_of_the_program(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        Parser(prog="some.py").parse_args(["--wrong", "3"])
    said = capsys.readouterr().err
    assert said == "some: --wrong is unknown; see --help.\n"


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    storage: str | None = flag(
        "--storage", None, "database", metavar="URL", url=True, variable="SOME_STORAGE"
    )
    number: int = flag("--number", 1, "number", metavar="N")
    folder: Path | None = flag("--folder", None, "folder", metavar="DIR")
    quiet: bool = flag("--quiet", False, "quiet")


def parse(*arguments: str) -> StorageSettings:
    parser = Parser(prog="some.py", allow_abbrev=False)
    add_flags(parser, StorageSettings)
    return read_flags(StorageSettings, parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--storag", "URL"], "--storag is unknown; see --help. Did you mean '--storage'?"),
        (["--storag=URL"], "--storag is unknown; see --help. Did you mean '--storage'?"),
        (["--quiet", "URL"], "a value has no flag; write --flag VALUE, in quotes if it has"),
        (["--storage", "postgresql://me:a", "secret@host/db"], "a value has no flag; write"),
        (["--number", "URL"], "--number is 'postgresql://me:***@host/db?***'; it takes no URL"),
        (["--folder", "URL"], "--folder is 'postgresql://me:***@host/db?***'; it takes no URL"),
        (["--quiet=URL"], "--quiet ignored explicit argument 'postgresql://me:***@host"),
    ],
)
def test_a_wrong_flag_shows_no_password(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "postgresql://me:my secret@host/db?key=secret"
    with pytest.raises(SystemExit, match="2"):
        parse(*(part.replace("URL", url) for part in arguments))
    said = capsys.readouterr().err
    assert said.startswith(f"some: {line}")
    assert "secret" not in said


def test_a_flag_may_be_given_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_STORAGE", "")
    assert parse().storage is None
    monkeypatch.setenv("SOME_STORAGE", "postgresql://me:secret@host/db")
    assert parse().storage == "postgresql://me:secret@host/db"
    assert parse("--storage", "sqlite:///a.db").storage == "sqlite:///a.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    count: int = flag("--count", 3, "number of things", metavar="N", group="things", at_least=2)
    share: float | None = flag("--share", None, "share of 100 %", metavar="X", above=0)
    color: str = flag("--color", "red", "color", metavar="NAME", choices=("red", "green"))
    folder: Path | None = flag(
        "--folder", None, "folder", metavar="DIR", shown_default="the current one"
    )
    shape: str = flag(
        "--shape", "dot", "shape", metavar="NAME", choices={"dot": "round", "box": "with corners"}
    )
    painted: bool = flag("--no-paint", True, "do not paint")
    loud: bool = flag("--loud", False, "be loud")
    round: bool | None = flag("--round", None, "be round", shown_default="if there is room")

    def __post_init__(self) -> None:
        check_flags(self)


def read(*arguments: str) -> Settings:
    parser = Parser(prog="some.py")
    add_flags(parser, Settings)
    return read_flags(Settings, parser.parse_args(arguments))


def test_flags_follow_from_the_fields_of_settings() -> None:
    assert read() == Settings()
    given = read("--count", "4", "--share", "0.5", "--folder", "a", "--no-paint", "--loud")
    assert given == Settings(count=4, share=0.5, folder=Path("a"), painted=False, loud=True)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(count=4, share=0.5, folder=Path("a b"), painted=False, loud=True, round=True),
        Settings(round=False, shape="box"),
    ],
)
def test_the_flags_of_settings_give_the_same_settings(settings: Settings) -> None:
    assert read(*given_flags(settings)) == settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": "4"}, "--count is '4'; it must be a whole number."),
        ({"count": True}, "--count is True; it must be a whole number."),
        ({"count": None}, "--count is None; it must be a whole number."),
        ({"share": "half"}, "--share is 'half'; it must be a number."),
        ({"loud": 1}, "--loud is 1; it must be True or False."),
        ({"color": Path("red")}, r"--color is \w*Path\('red'\); it must be text."),
        ({"folder": 3}, "--folder is 3; it must be a path."),
    ],
)
def test_a_program_is_told_of_a_value_of_the_wrong_type(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings(**given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "1"], "--count is 1; it must be 2 or more."),
        (["--share", "0"], "--share is 0.0; it must be above 0."),
        (["--share", "nan"], "--share is nan; it must be above 0."),
        (["--share", "inf"], "--share is inf; it must be a finite number."),
        (["--color", "gren"], "--color 'gren' is unknown; use one of red, green. Did you mean 'gr"),
    ],
)
def test_values_out_of_range_are_refused_by_the_name_of_their_flag(
    arguments: list[str], message: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        read(*arguments)


def test_the_help_of_a_flag_names_its_choices_and_its_default() -> None:
    texts = {declared.name: help_text(part, declared) for part, declared in flags_of(Settings)}
    assert texts == {
        "--count": "number of things (default: 3)",
        "--share": "share of 100 %",
        "--color": "color (red, green; default: red)",
        "--folder": "folder (default: the current one)",
        "--shape": "shape (dot: round; box: with corners; default: dot)",
        "--no-paint": "do not paint",
        "--loud": "be loud",
        "--round": "be round (default: if there is room)",
    }


@pytest.mark.parametrize(
    ("arguments", "value"), [([], None), (["--round"], True), (["--no-round"], False)]
)
def test_a_flag_may_be_on_off_or_not_given(arguments: list[str], value: bool | None) -> None:
    assert read(*arguments).round is value


def test_a_percent_sign_in_a_help_text_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        read("--help")
    assert "share of 100 %" in capsys.readouterr().out
