"""A dry run plans what the search would do."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search import dry_run
from search.length import Speed
from search.settings import SearchSettings
from search.sizes import fitted_sizes
from tests.search.harness import RecordingDisplay


def test_the_time_of_the_measurement_is_spent_as_in_a_search_and_that_of_exploring_is_not(
    tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    spent: list[float] = []

    class Measuring:
        stopped_by = None

        def __init__(self, *arguments: object) -> None: ...

        def required(self) -> Speed:
            now[0] += 40
            return Speed(workers=1, images_per_second=1000.0, startup_seconds=0.1)

    def explore(*arguments: object) -> list[dict[str, Any]]:
        now[0] += 100
        return []

    def fit(settings: Any, speed: Speed, inputs: Any, spent_seconds: float) -> SearchSettings:
        spent.append(spent_seconds)
        return fitted_sizes(settings, speed, inputs, spent_seconds)

    monkeypatch.setattr(dry_run, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(dry_run, "Measurement", Measuring)
    monkeypatch.setattr(dry_run, "explore", explore)
    monkeypatch.setattr(dry_run, "fitted_sizes", fit)
    workers = SimpleNamespace(count=1, close=lambda: None)
    monkeypatch.setattr(dry_run, "make_workers", lambda *arguments: workers)
    settings = SearchSettings(
        space="mlp",
        data=str(small_data),
        val_size=100,
        trials=2,
        minutes=1.0,
        results_dir=tmp_path / "results",
        dry_run=True,
    )
    planned = dry_run.dry_run(settings, RecordingDisplay())
    assert spent == [40.0]
    assert planned.seconds is not None
    assert planned.seconds <= 20
