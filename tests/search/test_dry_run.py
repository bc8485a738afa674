"""A dry run plans what the search would do."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search import dry_run
from search.engines.exploring import UnexploredError
from search.length import Speed
from search.settings import SearchSettings
from search.sizes import fitted_sizes
from tests.search.harness import RecordingDisplay, workers_at


def planning(directory: Path, data: Path, **changes: Any) -> SearchSettings:
    """Settings of a dry run of the `mlp` space on small data."""
    given: dict[str, Any] = {"space": "mlp", "data": str(data), "val_size": 100, "dry_run": True}
    return SearchSettings(**given, results_dir=directory / "results", **changes)


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
    settings = planning(tmp_path, small_data, trials=2, minutes=1.0)
    planned = dry_run.dry_run(settings, RecordingDisplay())
    assert spent == [40.0]
    assert planned.seconds is not None
    assert planned.seconds <= 20


def test_a_space_that_fails_has_a_plan_without_a_duration(
    tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explore(*arguments: object) -> list[dict[str, Any]]:
        raise UnexploredError("it cannot be explored", "ValueError: no model")

    settings = planning(tmp_path, small_data, trials=9, epochs=2, workers=1)
    monkeypatch.setattr(dry_run, "explore", explore)
    with workers_at("", settings, tmp_path, "failing", silence_seconds=60) as workers:
        monkeypatch.setattr(dry_run, "make_workers", lambda *arguments: workers)
        lines = list(dry_run.dry_run(settings, RecordingDisplay()).lines())
    assert lines[0] == "the duration of the search is unknown: ValueError: simulated"
    assert "space: mlp, not explored: ValueError: no model" in lines
