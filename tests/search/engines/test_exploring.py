"""Exploring a space for KerasTuner's engine, where its `build` fails."""

import os
from pathlib import Path
from typing import Any

import pytest

from search.engines.exploring import explore
from search.errors import SearchError


class Raises:
    def build(self, hp: Any) -> Any:
        raise ValueError("no\nmodel")


class Dies:
    def build(self, hp: Any) -> Any:
        os._exit(1)


def test_a_build_that_raises_is_one_line_with_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "exploring.log"
    with pytest.raises(
        SearchError, match=r"build.hp. failed .* ValueError: no model .more in .*log"
    ):
        explore(f"{__name__}:Raises", log)
    assert log.exists()


def test_a_build_that_kills_its_process_is_one_line_with_the_log(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"build.hp. killed its process; see .*exploring\.log"):
        explore(f"{__name__}:Dies", tmp_path / "exploring.log")
