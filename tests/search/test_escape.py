"""Text of any kind is shown as it is by what reads a file."""

from pathlib import Path

import pandas as pd
import pytest

from search.escape import (
    code_fence,
    escaped,
    markdown_code,
    markdown_line,
    printable,
    write_csv,
)
from spaces.errors import one_line

CONTROLS = [
    *(chr(code) for code in range(0x20) if chr(code) not in "\t\r\n"),
    *(chr(code) for code in range(0x7F, 0xA0)),
    *"\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069",
]


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_a_control_character_reaches_no_terminal_and_no_file(control: str) -> None:
    assert escaped(f"a{control}b") == f"a{control.encode('unicode_escape').decode()}b"
    assert printable(f"a{control}b") == "a\ufffdb"
    assert control not in one_line(f"a{control}b")


def test_other_text_is_not_changed() -> None:
    text = "größe 👩\u200d🔬 עברית\n\t2"
    assert escaped(text) == printable(text) == text


def test_escape_sequences_are_shown() -> None:
    assert escaped("\x1b[2J\x1b]0;title\x07\r\x9b1m") == "\\x1b[2J\\x1b]0;title\\x07\\r\\x9b1m"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# no heading", "\\# no heading"),
        ("> no quotation", "\\> no quotation"),
        ("- no list", "\\- no list"),
        ("--- no rule", "\\--- no rule"),
        ("12) no list", "12\\) no list"),
        ("-0.3 points", "-0.3 points"),
        ("94.2 %", "94.2 %"),
        ("batch_norm and conv_1", "batch_norm and conv_1"),
        ("one\r# two\r\n- three\n> four", "one # two - three > four"),
    ],
)
def test_a_line_of_markdown_begins_no_block(text: str, line: str) -> None:
    assert markdown_line(text) == line


def test_a_spreadsheet_finds_no_formulas(tmp_path: Path) -> None:
    cells = ["=cmd()", "+1+cmd()", "-cmd()", "@SUM(A1)", "\tx", "-0.5", "+3", "-", "safe", None]
    write_csv(pd.DataFrame({"=HYPERLINK()": cells}), tmp_path / "odd.csv")
    read = pd.read_csv(tmp_path / "odd.csv", keep_default_na=False)
    assert list(read.columns) == ["'=HYPERLINK()"]
    assert read["'=HYPERLINK()"].tolist() == [
        *("'=cmd()", "'+1+cmd()", "'-cmd()", "'@SUM(A1)", "'\tx"),
        *("-0.5", "+3", "-", "safe", ""),
    ]


def test_a_carriage_return_begins_no_row_of_a_spreadsheet(tmp_path: Path) -> None:
    write_csv(pd.DataFrame({"a\r=b": ["c\r=d", "\r=e"]}), tmp_path / "odd.csv")
    assert b"\r" not in (tmp_path / "odd.csv").read_bytes()
    read = pd.read_csv(tmp_path / "odd.csv")
    assert list(read.columns) == ["a\ufffd=b"]
    assert read["a\ufffd=b"].tolist() == ["c\ufffd=d", "'\ufffd=e"]


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("cnn", "`cnn`"),
        ("a|b\nc", "`a\\|b c`"),
        ("a\rb\r\nc", "`a b c`"),
        ("a `b` c", "`` a `b` c ``"),
        ("$x$ <b>", "`$x$ <b>`"),
    ],
)
def test_a_span_of_code_holds_its_text(text: str, span: str) -> None:
    assert markdown_code(text) == span


def test_a_fence_is_longer_than_the_backticks_inside() -> None:
    assert code_fence("x = 1") == "```"
    assert code_fence("``` ````") == "`````"
