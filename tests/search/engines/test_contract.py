"""The contract of every engine, sampler, tuner, pruner, storage and kind of worker."""

from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard._note import get_note_from_system_attrs

from search.engines.pruners import PRUNERS
from search.engines.samplers import SAMPLERS, Sampler
from search.engines.trials import StudyTrials
from search.engines.tuners import TUNERS, Tuner
from search.errors import StopReason
from search.study.study import FINISHED, trial_params
from tests.search.harness import load, search

# A sampler, a tuner or a pruner joins these tests by its entry in the registry.
ALGORITHMS: dict[str, Sampler | Tuner] = {
    **SAMPLERS,
    **{f"keras-tuner:{name}": tuner for name, tuner in TUNERS.items()},
}
# Workers are threads where no place is named: engines do not see where workers run.
IN_PROCESSES = ("tpe@processes", "keras-tuner:hyperband@processes")
ON_CLUSTER = ("tpe@cluster", "keras-tuner:hyperband@cluster")
# One of each engine: what a storage keeps does not depend on the algorithm.
IN_DATABASES = ("tpe", "keras-tuner:hyperband")
PAIRS = [
    *((name, "journal") for name in (*ALGORITHMS, *IN_PROCESSES)),
    *((name, database) for name in IN_DATABASES for database in ("sqlite", "postgresql")),
]
CONTINUED = [*PAIRS, ("tpe@cluster", "journal")]
MARKS: dict[str, Any] = {
    **{
        name: pytest.mark.skip(f"needs {', '.join(sampler.missing)}")
        for name, sampler in SAMPLERS.items()
        if sampler.missing
    },
    **{name: pytest.mark.xdist_group("cluster") for name in ON_CLUSTER},
}


def marked(algorithm: str, *more: str) -> Any:
    return pytest.param(algorithm, *more, marks=MARKS.get(algorithm, ()))


def on_storages(pairs: list[tuple[str, str]]) -> Any:
    cases = [marked(*pair) for pair in pairs]
    return pytest.mark.parametrize(("algorithm", "storage"), cases, indirect=["storage"])


def takes_first(algorithm: str) -> bool:
    return ALGORITHMS[algorithm.partition("@")[0]].takes_first


def length(algorithm: str, usual: int) -> int:
    """The trials of a search: few where a proposal takes a second, from the fourth one on."""
    return min(usual, 8) if algorithm == "keras-tuner:bayesian" else usual


with_every_algorithm = pytest.mark.parametrize(
    "algorithm", [marked(name) for name in (*ALGORITHMS, *IN_PROCESSES)]
)


@pytest.fixture
def storage(request: pytest.FixtureRequest) -> Any:
    server = request.param == "postgresql"
    return request.getfixturevalue("server") if server else request.param


def finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(states=FINISHED)


def outline(study: optuna.Study) -> list[tuple[int, dict[str, object], str, dict[int, float]]]:
    """Return what a repeated search must reproduce."""
    return [
        (trial.number, trial.params, trial.state.name, trial.intermediate_values)
        for trial in study.trials
    ]


@on_storages([*PAIRS, *((name, "journal") for name in ON_CLUSTER)])
def test_ends_with_exactly_n_finished_trials(tmp_path: Path, algorithm: str, storage: Any) -> None:
    study, reason = search(
        tmp_path, space="conditional", storage=storage, algorithm=algorithm, trials=12
    )
    assert reason is None
    assert len(finished(study)) == 12
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))


@with_every_algorithm
def test_stays_in_the_space_and_asks_only_for_active_hyperparameters(
    tmp_path: Path, algorithm: str
) -> None:
    study, _ = search(tmp_path, space="conditional", algorithm=algorithm, trials=15)
    for trial in study.trials:
        widths = {name for name in trial.params if name.startswith("width_")}
        assert widths == {f"width_{i}" for i in range(trial.params["layers"])}
        assert 0 <= trial.params["layers"] <= 3
        assert 1e-4 <= trial.params["rate"] <= 1e-1
        assert all(trial.params[name] in range(4, 65, 4) for name in widths)


@pytest.mark.parametrize(("space", "size"), [("finite", 12), ("finite conditional", 22)])
@with_every_algorithm
def test_a_finite_space_is_exhausted_once_and_then_the_search_ends(
    tmp_path: Path, algorithm: str, space: str, size: int
) -> None:
    study, reason = search(tmp_path, space=space, algorithm=algorithm, trials=90)
    # Promoted trials of Hyperband continue a configuration that was tried.
    tried = Counter(
        tuple(
            (name, f"{value:.12g}" if isinstance(value, float) else value)
            for name, value in sorted(trial.params.items())
        )
        for trial in finished(study)
        if trial.user_attrs.get("keras_tuner", {}).get("promoted_from") is None
    )
    assert reason == StopReason.EXHAUSTED
    assert len(tried) == size
    assert set(tried.values()) == {1}
    assert study.get_trials(states=(TrialState.COMPLETE,))


@pytest.mark.parametrize("algorithm", [marked(name) for name in SAMPLERS])
def test_what_a_training_asks_for_belongs_to_the_configuration(
    tmp_path: Path, algorithm: str
) -> None:
    study, reason = search(
        tmp_path, space="asks while it trains", algorithm=algorithm, trials=12, workers=1
    )
    assert reason is None
    assert len(finished(study)) == len(study.trials) == 12
    assert {trial.params["x"] for trial in study.trials} == {1, 2}
    assert len({trial.params["late"] for trial in study.trials}) > 2


@with_every_algorithm
def test_trials_that_cannot_be_built_are_replaced_also_across_interruptions(
    tmp_path: Path, algorithm: str
) -> None:
    for run in ("whole", "parts"):
        (tmp_path / run).mkdir()
    flags = {"space": "fails while built", "algorithm": algorithm, "workers": 1}
    trials = length(algorithm, 12)
    flags |= {"trials": trials, "max_failures": 100}
    whole, _ = search(tmp_path / "whole", **flags)
    for stop_after in (2, 4, 5):
        search(tmp_path / "parts", stop_after=stop_after, **flags)
    parts, reason = search(tmp_path / "parts", **flags)
    assert reason is None
    assert outline(parts) == outline(whole)
    assert len(finished(parts)) == trials
    failed = parts.get_trials(states=(TrialState.FAIL,))
    unbuilt = [trial for trial in failed if "duplicate_of" not in trial.user_attrs]
    assert unbuilt
    assert all(trial.params["x"] % 3 == 0 for trial in unbuilt)


@with_every_algorithm
def test_the_same_seed_gives_the_same_trials(tmp_path: Path, algorithm: str) -> None:
    outlines = []
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        study, _ = search(
            tmp_path / run,
            space="conditional",
            algorithm=algorithm,
            seed=7,
            trials=length(algorithm, 14),
            workers=1,
        )
        outlines.append(outline(study))
    assert outlines[0] == outlines[1]


def test_another_seed_gives_other_trials(tmp_path: Path) -> None:
    params = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        study, _ = search(tmp_path / str(seed), space="conditional", seed=seed, trials=3, workers=1)
        params.append([trial.params for trial in study.trials])
    assert params[0] != params[1]


@on_storages(CONTINUED)
def test_interrupted_and_continued_equals_uninterrupted(
    tmp_path: Path, algorithm: str, storage: str
) -> None:
    for run in ("whole", "parts"):
        (tmp_path / run).mkdir()
    flags = {"space": "conditional", "algorithm": algorithm, "storage": storage, "workers": 1}
    whole, _ = search(tmp_path / "whole", trials=14, **flags)
    for stop_after in (3, 5):
        parts, reason = search(tmp_path / "parts", trials=14, stop_after=stop_after, **flags)
        assert reason == StopReason.CTRL_C
        assert not parts.get_trials(states=(TrialState.RUNNING,))
    parts, _ = search(tmp_path / "parts", trials=14, **flags)
    assert outline(parts) == outline(whole)


# In the first trial, in a later one, and where samplers have learned from trials (Optuna's TPE
# from ten), or list what is left of a finite space.
@pytest.mark.parametrize(
    ("space", "trials", "cuts"),
    [("conditional", 4, (2, 5)), ("conditional", 13, (-2,)), ("finite conditional", 20, (-1,))],
)
@with_every_algorithm
def test_a_search_that_ends_between_two_questions_is_continued_with_the_same_trials(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
    space: str,
    trials: int,
    cuts: tuple[int, ...],
) -> None:
    trials = length(algorithm, trials)
    flags = {"space": space, "algorithm": algorithm, "trials": trials, "workers": 1}
    suggest, asked = StudyTrials.suggest, 0

    def interrupted(self: StudyTrials, *question: Any) -> Any:
        nonlocal asked
        answer = suggest(self, *question)
        asked += 1
        if asked == last:
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(StudyTrials, "suggest", interrupted)
    (tmp_path / "whole").mkdir()
    last = 0
    whole, _ = search(tmp_path / "whole", **flags)
    questions = asked
    for cut in cuts:
        parts = tmp_path / f"parts{cut}"
        parts.mkdir()
        asked, last = 0, cut if cut > 0 else questions + cut
        with pytest.raises(KeyboardInterrupt):
            search(parts, **flags)
        last = 0
        continued, _ = search(parts, **flags)
        assert outline(continued) == outline(whole)


@with_every_algorithm
def test_a_finished_search_runs_nothing_more_until_it_is_asked_for_more(
    tmp_path: Path, algorithm: str
) -> None:
    for trials in (4, 4, 9):
        study, reason = search(tmp_path, space="conditional", algorithm=algorithm, trials=trials)
        assert (reason, len(finished(study))) == (None, trials)


@on_storages([pair for pair in PAIRS if takes_first(pair[0])])
def test_enqueued_configurations_come_first_and_once(
    tmp_path: Path, storage: Any, algorithm: str
) -> None:
    first = {
        "small": {"layers": 0, "rate": 0.001, "kind": "a"},
        "wide": {"layers": 1, "rate": 0.002, "width_0": 64, "kind": "b"},
    }
    for trials in (1, 5):
        study, _ = search(
            tmp_path,
            space="conditional",
            algorithm=algorithm,
            storage=storage,
            trials=trials,
            first=first,
        )
    assert [trial.params for trial in study.trials[:2]] == list(first.values())
    assert [trial.user_attrs.get("known_as") for trial in study.trials] == [
        "small",
        "wide",
        None,
        None,
        None,
    ]


@pytest.mark.parametrize("algorithm", [marked(name) for name in ALGORITHMS if takes_first(name)])
def test_a_known_configuration_may_lie_outside_of_the_ranges(
    tmp_path: Path, algorithm: str
) -> None:
    first = {"outside": {"layers": 1, "rate": 0.5, "width_0": 100, "kind": "a"}}
    for trials in (2, length(algorithm, 12)):
        study, _ = search(
            tmp_path, space="conditional", algorithm=algorithm, trials=trials, first=first
        )
    assert len(finished(study)) == trials
    assert study.trials[0].params == {"layers": 1, "kind": "a"}
    assert trial_params(study.trials[0]) == first["outside"]


@pytest.mark.parametrize("pruner", [name for name in PRUNERS if name != "none"])
def test_pruned_trials_stop_early_and_count(tmp_path: Path, pruner: str) -> None:
    study, _ = search(tmp_path, space="conditional", pruner=pruner, trials=25)
    pruned = study.get_trials(states=(TrialState.PRUNED,))
    assert pruned
    assert len(finished(study)) == 25
    for trial in pruned:
        epochs = trial.user_attrs["epochs"]
        assert 1 <= epochs <= 4  # never in the second half
        assert sorted(trial.intermediate_values) == list(range(1, epochs + 1))


@pytest.mark.parametrize("pruner", ["hyperband", "asha"])
def test_rungs_are_counted_in_finished_epochs(tmp_path: Path, pruner: str) -> None:
    study, _ = search(tmp_path, space="conditional", pruner=pruner, trials=25)
    ends = {trial.user_attrs["epochs"] for trial in study.get_trials(states=(TrialState.PRUNED,))}
    assert ends
    assert ends <= {2, 4}  # a fifth of 9 epochs, rounded up, and twice that


def test_without_a_pruner_every_trial_runs_all_its_epochs(tmp_path: Path) -> None:
    study, _ = search(tmp_path, space="conditional", pruner="none", trials=8)
    assert all(len(trial.intermediate_values) == 9 for trial in study.trials)


def test_a_trial_is_recorded_in_full(tmp_path: Path) -> None:
    study, _ = search(tmp_path, space="conditional", pruner="none", trials=1, workers=1)
    trial = load(tmp_path).trials[0]
    attrs = trial.user_attrs
    assert attrs["epochs"] == 9
    assert attrs["parameters"] > 0
    assert attrs["seed"] == 0
    assert "history" not in attrs  # one long line in the dashboard
    assert trial.value == trial.intermediate_values[9]
    attrs = study._storage.get_study_system_attrs(study._study_id)
    text = get_note_from_system_attrs(attrs, trial._trial_id)["body"]
    for part in ("quality", "Parameters", "Seconds", "Images/s", "complete"):
        assert part in text
    names = {
        meta.filename
        for meta in optuna.artifacts.get_all_artifact_meta(trial, storage=study._storage)
    }
    assert names == {"history.csv", "learning_curve.png", "model.txt"}
