"""A search that begins with the best configurations of an earlier study."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from search.earlier import MOST, _as_point, earlier_configurations, earlier_study
from search.errors import SettingsError, StorageError, StudyError
from search.preparation import find_inputs
from search.settings import SearchSettings
from search.study.objective import Limits
from search.study.storage import open_storage
from search.study.study import create_or_continue
from spaces import DataShape, PixelStatistics, SpaceError, first_configurations
from tests.search.harness import FACTS

DATA = DataShape((28, 28, 1), 10)


def params(width: int) -> dict[str, Any]:
    return {"dense_layers": 1, "dense_1": width, "activation": "relu"}


def make_study(
    directory: Path, *trials: tuple[float, dict[str, Any]], url: str | None = None
) -> None:
    """Make a study of complete trials, and one of each other state that would be the best."""
    directory.mkdir(parents=True)
    study = create_or_continue(
        open_storage(directory / "study.journal", url), directory.name, FACTS
    )
    distributions = {
        "dense_layers": IntDistribution(1, 3),
        "dense_1": IntDistribution(1, 5_000),
        "activation": CategoricalDistribution(("relu", "silu", "tanh")),
        "width": FloatDistribution(0, 1),
    }
    for value, values in trials:
        known = {name: distributions[name] for name in values}
        study.add_trial(create_trial(value=value, params=values, distributions=known))
    study.add_trial(create_trial(value=0.99, state=TrialState.PRUNED, intermediate_values={1: 0.9}))
    study.add_trial(create_trial(state=TrialState.FAIL))


def settings(tmp_path: Path, named: str, **other: Any) -> SearchSettings:
    given: dict[str, Any] = {"space": "mlp", "results_dir": tmp_path / "results", **other}
    return SearchSettings(from_study=named, **given)


def configurations(given: SearchSettings) -> dict[str, dict[str, Any]]:
    return earlier_configurations(earlier_study(given), given.space, DATA)


def test_the_best_come_first_and_none_twice(tmp_path: Path) -> None:
    trials = [(0.5, params(16)), (0.9, params(32)), (0.7, params(32)), (0.8, params(64))]
    make_study(tmp_path / "results" / "old", *trials)
    found = configurations(settings(tmp_path, "old"))
    assert list(found) == ["old trial 1", "old trial 3", "old trial 0"]
    assert [one["dense_1"] for one in found.values()] == [32, 64, 16]
    # What the earlier study did not ask for takes its default.
    assert found["old trial 1"]["batch_norm"] == "before"


def test_a_folder_with_a_pipe_is_refused_and_not_read(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.mkfifo(theirs / "study.journal")
    with pytest.raises(StorageError, match=r"theirs/study.journal is a symbolic link, a pipe or"):
        earlier_study(settings(tmp_path, str(theirs)))


@pytest.mark.parametrize("place", ["folder", "relative folder", "database"])
def test_the_study_may_lie_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    url = f"sqlite:///{tmp_path}/all.db" if place == "database" else None
    make_study(tmp_path / "elsewhere" / "old", (0.5, params(16)), url=url)
    monkeypatch.chdir(tmp_path)
    named = {"folder": str(tmp_path / "elsewhere" / "old"), "database": "old"}
    given = settings(tmp_path, named.get(place, "elsewhere/old"), storage=url)
    assert list(configurations(given)) == ["old trial 0"]


def test_of_a_study_with_several_objectives_the_front_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "old"
    folder.mkdir(parents=True)
    study = create_or_continue(
        open_storage(folder / "study.journal", None),
        "old",
        FACTS | {"objective": "accuracy,parameters"},
    )
    for accuracy, width in ((0.5, 16), (0.9, 64), (0.8, 128), (0.7, 32)):
        distributions = {
            "dense_layers": IntDistribution(1, 3),
            "dense_1": IntDistribution(1, 5_000),
            "activation": CategoricalDistribution(("relu", "silu", "tanh")),
        }
        study.add_trial(
            create_trial(
                values=[accuracy, 785.0 * width], params=params(width), distributions=distributions
            )
        )
    found = configurations(settings(tmp_path, "old"))
    assert list(found) == ["old trial 1", "old trial 3", "old trial 0", "old trial 2"]


@pytest.mark.parametrize(
    ("shape", "names"),
    [((28, 28, 1), ["old trial 1", "old trial 0"]), ((32, 32, 3), ["old trial 2", "old trial 1"])],
)
def test_those_within_the_limits_come_first_where_their_costs_are_the_same(
    tmp_path: Path, shape: tuple[int, int, int], names: list[str]
) -> None:
    folder = tmp_path / "results" / "old"
    folder.mkdir(parents=True)
    study = create_or_continue(open_storage(folder / "study.journal", None), "old", FACTS)
    source = {"data": "fashion_mnist", "image_size": None, "mirror": None}
    dataset = {"name": "any", "image_shape": shape, "class_names": list("0123456789")}
    study.set_user_attr("dataset", dataset | {"mirror": True, "source": source})
    for value, width in ((0.5, 16), (0.6, 32), (0.9, 512)):
        study.add_trial(
            create_trial(
                value=value,
                params={"dense_1": width},
                distributions={"dense_1": IntDistribution(1, 5_000)},
                user_attrs={"parameters": 794 * width},
            )
        )
    limits = Limits(max_params=100_000)
    given = settings(tmp_path, "old")
    found = earlier_configurations(earlier_study(given), given.space, DATA, limits)
    assert list(found)[:2] == names
    too_low = Limits(max_params=10)  # the search says why it refuses them
    assert len(earlier_configurations(earlier_study(given), given.space, DATA, too_low)) == 3


def test_configurations_that_are_no_points_of_the_space_are_left_out(tmp_path: Path) -> None:
    trials = [(0.9, params(4_000)), (0.8, {"width": 0.5}), (0.7, params(16))]
    make_study(tmp_path / "results" / "old", *trials)
    assert list(configurations(settings(tmp_path, "old"))) == ["old trial 2"]


def test_a_whitened_network_goes_on_without_where_patches_are_not_known(tmp_path: Path) -> None:
    pixels = PixelStatistics((0.5,), (0.5,), tuple(map(tuple, (np.eye(4) / 12).tolist())))
    known = replace(DATA, pixels=pixels)
    whitened = first_configurations("cnn", known)["default"]
    assert whitened["whitened"]
    expected = {name: value for name, value in whitened.items() if name != "whitened"}
    assert _as_point("cnn", DATA, whitened) == expected
    assert _as_point("cnn", known, whitened) == whitened
    # One of an earlier version was not whitened.
    assert _as_point("cnn", known, expected) == whitened | {"whitened": False}


def test_no_more_than_a_portfolio_is_taken(tmp_path: Path) -> None:
    trials = [(width / 100, params(width)) for width in range(16, 40)]
    make_study(tmp_path / "results" / "old", *trials)
    found = configurations(settings(tmp_path, "old"))
    assert [one["dense_1"] for one in found.values()] == list(range(39, 39 - MOST, -1))


def test_a_space_of_the_user_gets_the_values_as_they_were(tmp_path: Path) -> None:
    make_study(tmp_path / "results" / "old", (0.9, {"width": 0.5}))
    given = settings(tmp_path, "old", space="mine:Space")
    assert configurations(given) == {"old trial 0": {"width": 0.5}}


def test_a_study_without_anything_to_try_is_refused(tmp_path: Path) -> None:
    make_study(tmp_path / "results" / "empty")
    make_study(tmp_path / "results" / "other", (0.9, {"width": 0.5}))
    for named, why in (
        ("empty", r"--from is 'empty', but that study has no complete trial; name another"),
        ("other", r"but none of its 1 complete trials is a point of space 'mlp'; name another"),
        (
            "othr",
            r"--from is 'othr', which is not .* no study of that name; .* Did you mean 'other'",
        ),
    ):
        with pytest.raises(StudyError, match=why):
            configurations(settings(tmp_path, named))


def test_a_sampler_without_first_trials_refuses_the_flag() -> None:
    with pytest.raises(SettingsError, match=r"--from is 'old', but grid takes no first"):
        SearchSettings(from_study="old", engine="keras-tuner", tuner="grid")
    with pytest.raises(SettingsError, match=r"^--baselines is given, but grid takes no first"):
        SearchSettings(baselines=True, sampler="grid")


def test_a_search_that_goes_on_begins_with_what_it_began_with(
    tmp_path: Path, small_data: Path
) -> None:
    results = tmp_path / "results"
    make_study(results / "old", (0.5, params(16)))
    given = settings(tmp_path, "old", data=str(small_data), study="new", trials=3, quiet=True)
    begun = find_inputs(given)
    assert list(begun.first) == [*begun.earlier, "default"]
    make_study(results / "new", (0.6, params(20)))
    study = create_or_continue(open_storage(results / "new" / "study.journal", None), "new", FACTS)
    with pytest.raises(StudyError, match=r"--from is 'old', but study 'new' has begun without it"):
        find_inputs(given)
    study.set_user_attr("from", begun.earlier)
    old = create_or_continue(open_storage(results / "old" / "study.journal", None), "old", FACTS)
    old.add_trial(
        create_trial(
            value=0.9,
            params={"dense_1": 99},
            distributions={"dense_1": IntDistribution(1, 5_000)},
        )
    )
    assert find_inputs(given).first == begun.first


def test_what_cannot_be_found_is_said_before_any_image_is_read(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="has no study of that name"):
        find_inputs(settings(tmp_path, "old", data="nowhere"))
    with pytest.raises(SpaceError, match="space 'cmn' is unknown"):
        find_inputs(SearchSettings(space="cmn", data="nowhere"))
