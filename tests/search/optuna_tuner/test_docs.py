"""The programs in docs/keras-tuner.md run as they are."""

import re
from pathlib import Path

import pytest

from tests.search.optuna_tuner.programs import X, Y, build

PAGE = Path(__file__).parents[3] / "docs" / "keras-tuner.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(2))
def test_a_program_of_the_page_runs(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"build_model": build, "x_train": X, "y_train": Y, "x_val": X, "y_val": Y}
    short = (
        PROGRAMS[number].replace("max_trials=50", "max_trials=1").replace("epochs=10", "epochs=1")
    )
    exec(short, names)
    assert list((tmp_path / "searches").glob("*/study.journal"))
    assert len(PROGRAMS) == 2
