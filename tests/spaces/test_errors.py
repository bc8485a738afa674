"""Errors on one line, and suggestions of similar names."""

import pytest

from spaces.errors import did_you_mean, one_line


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("one.\n  two.\n"), "one. two"),
        (ValueError("\x1b[1mbold\x1b[0m text"), "bold text"),
        (KeyError(), "KeyError"),
        (ValueError("x" * 400), "x" * 300 + " ..."),
        ("two\nlines, été", "two lines, été"),
        ("title\x1b]0;x\x07 \u202e \udcff", r"title\x1b]0;x\x07 \u202e \udcff"),
        ("", ""),
    ],
)
def test_an_error_is_one_line_without_control_characters(
    error: Exception | str, expected: str
) -> None:
    assert one_line(error) == expected


def test_an_error_is_named_on_request() -> None:
    assert one_line(TypeError("no"), typed=True) == "TypeError: no"


def test_the_error_of_a_database_is_shown_in_place_of_its_wrapper() -> None:
    class WrapperError(Exception):
        orig = ValueError("no such table")

    assert one_line(WrapperError("long\ntext")) == "no such table"


def test_a_similar_name_is_suggested_and_a_strange_one_is_not() -> None:
    assert did_you_mean("ccn", ["cnn", "mlp"]) == " Did you mean 'cnn'?"
    assert did_you_mean("xyz", ["cnn", "mlp"]) == ""
