"""What a study stores is checked before it is used."""

import datetime
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from optuna_dashboard import save_note

from search.command_line.flags import LARGEST, MOST_EPOCHS
from search.errors import StudyError
from search.study.facts import check_study, require_facts, split_sizes
from tests.search.harness import FACTS


def study(*trials: optuna.trial.FrozenTrial, **facts: Any) -> optuna.Study:
    made = optuna.create_study(study_name="mine", direction="maximize")
    for name, value in (FACTS | facts).items():
        made.set_user_attr(name, value)
    made.add_trials(trials)
    return made


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


BAD_FACTS: dict[str, Any] = {
    "space": "os; rm -rf",
    "data": 5,
    "epochs": True,
    "precision": "int8",
    "seed": -1,
    "settings": "tpe",
    "versions": {"python": ["3.11"]},
    "command": None,
    "runs": "none",
    "unknown": nested(200),
}


@pytest.mark.parametrize("name", BAD_FACTS)
def test_a_fact_that_breaks_its_rule_is_named_with_its_value(name: str) -> None:
    with pytest.raises(StudyError, match=rf"'mine' cannot be used: its '{name}' is .*it must be"):
        check_study(study(**{name: BAD_FACTS[name]}))


@pytest.mark.parametrize("space", ["cnn", "mine:Net", "a.b_1:build", "my-model:build"])
def test_what_names_a_space_can_be_stored(space: str) -> None:
    check_study(study(space=space))


@pytest.mark.parametrize("limit", ["x", "1000", 0, -5, True, float("nan")])
@pytest.mark.parametrize("name", ["max_params", "max_flops", "max_latency_ms"])
def test_a_limit_that_no_search_stores_is_named(name: str, limit: object) -> None:
    message = f"'{name}' is .*; it must be a number above 0, or null"
    if isinstance(limit, float):
        message = "it must be names with numbers or text"
    with pytest.raises(StudyError, match=f"its .*{message}"):
        check_study(study(settings={name: limit}))
    with pytest.raises(StudyError, match=f"run 1's .*{message}"):
        check_study(study(runs=[{}, {"settings": {name: limit}}]))
    check_study(study(settings={name: 5}, runs=[{"settings": {name: None}}]))


DATASET: dict[str, Any] = {
    "name": "photos",
    "image_shape": [32, 32, 3],
    "class_names": ["cat", "dog"],
    "mirror": None,
}
SOURCE: dict[str, Any] = {"data": "/photos", "image_size": 32, "mirror": None}


@pytest.mark.parametrize(
    "source",
    [
        SOURCE,
        SOURCE | {"image_size": None, "mirror": True},
        SOURCE | {"image_size": 16},
        SOURCE | {"image_size": 224},
        {},
    ],
)
def test_a_study_may_store_where_its_data_set_is(source: dict[str, Any]) -> None:
    check_study(study(dataset=DATASET | {"source": source}))
    check_study(study(dataset=DATASET))


@pytest.mark.parametrize(
    "changed",
    [
        {"name": 5},
        {"image_shape": [32, 32]},
        {"image_shape": [32, 0, 3]},
        {"class_names": "cat"},
        {"mirror": "yes"},
        {"more": 1},
        {"source": "photos"},
        {"source": {"data": "photos"}},
        {"source": SOURCE | {"data": 5}},
        {"source": SOURCE | {"image_size": "32"}},
        {"source": SOURCE | {"image_size": 15}},
        {"source": SOURCE | {"image_size": 225}},
        {"source": SOURCE | {"image_size": 10**9}},
        {"source": SOURCE | {"mirror": "yes"}},
    ],
)
def test_a_data_set_that_cannot_be_read_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=r"its 'dataset' is .*must be what is known of a data set"):
        check_study(study(dataset=DATASET | changed))


@pytest.mark.parametrize(
    "split",
    ["half", {}, {"train": None}, {"train": 5, "val": 0}, {"val": "5"}, 7, None, [",", 2]]
    + [{"train": None, "val": 5, "epoch_size": size} for size in (0, -1, "5", True)],
)
def test_a_split_that_cannot_be_read_is_refused(split: Any) -> None:
    with pytest.raises(StudyError, match=r"split is .*; this version cannot read it"):
        split_sizes(split)
    with pytest.raises(StudyError, match=r"split is .*; this version cannot read it"):
        check_study(study(split=split))


def test_facts_that_a_report_needs_must_be_there() -> None:
    require_facts(study(), ("space", "epochs"))
    with pytest.raises(StudyError, match="'mine' cannot be used: it has no 'commit'"):
        require_facts(study(), ("space", "commit"))


def test_a_run_with_wrong_facts_is_named() -> None:
    check_study(study(runs=[{"seed": 1}, {"command": "again"}]))
    with pytest.raises(StudyError, match=r"run 1's 'seed' is 'x'; it must be a whole number"):
        check_study(study(runs=[{"seed": 1}, {"seed": "x"}]))


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"seconds": "long"}, "trial 0's 'seconds' is 'long'; it must be a number, 0 or more"),
        ({"seconds": 10**400}, "trial 0's 'seconds' is 10.*; it must be a number"),
        ({"parameters": -1}, "trial 0's 'parameters' is -1; it must be a whole number"),
        ({"reason": ["x"]}, "'reason' is \\['x'\\]; it must be text"),
        ({"keras_tuner": {"promoted_from": 3}}, "it must be the budget of a trial of KerasTuner"),
        ({"keras_tuner": None}, "it must be the budget of a trial of KerasTuner"),
        ({"other\x1b": nested(200)}, r"trial 0's 'other\\x1b' is .* it must be nested in at most"),
    ],
)
def test_a_trials_attribute_that_breaks_its_rule_is_named(
    attrs: dict[str, Any], words: str
) -> None:
    with pytest.raises(StudyError, match=words) as raised:
        check_study(study(create_trial(value=0.5, user_attrs=attrs)))
    assert str(raised.value).isprintable()


def changed(**parts: Any) -> optuna.trial.FrozenTrial:
    """A trial that Optuna itself would not make, as a damaged file may hold it."""
    trial = create_trial(
        value=0.5, params={"x": 0.5}, distributions={"x": FloatDistribution(0, 1, log=False)}
    )
    for name, value in ({"number": 0} | parts).items():
        setattr(trial, name, value)
    return trial


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"values": [1.0, 2.0]}, r"trial 0 is COMPLETE with values \[1.0, 2.0\]"),
        (
            {"intermediate_values": {1: "good"}},
            "value after epoch 1 is 'good'; it must be a finite",
        ),
        ({"intermediate_values": {1: float("nan")}}, "value after epoch 1 is nan; it must be"),
        ({"intermediate_values": {-1: 0.5}}, "an epoch of trial 0 is -1; it must be a whole"),
        ({"datetime_start": datetime.datetime(1, 1, 1)}, "start is .*; it must be a date and time"),
        (
            {"datetime_complete": datetime.datetime.now(datetime.UTC)},
            "end is .*; it must be a date and time without time zone",
        ),
        ({"_params": {}}, "trial 0 lacks a hyperparameter's value or range"),
        ({"_params": {"x": [1]}}, r"trial 0's 'x' is \[1\]; it must be a number, text"),
        ({"_params": {"x": "a"}}, "trial 0's 'x' is 'a'; it must be a finite number"),
        (
            {"_distributions": {"x": FloatDistribution(0, float("inf"))}},
            "a bound of trial 0's 'x' is inf; it must be a finite number",
        ),
        (
            {"_params": {"x": -1.0}, "_distributions": {"x": FloatDistribution(1, 2, log=True)}},
            "trial 0's 'x' is -1.0; it must be above 0",
        ),
        (
            {"_distributions": {"x": CategoricalDistribution([0.5, float("inf")])}},
            "a choice of trial 0's 'x' is inf; it must be",
        ),
    ],
)
def test_a_trial_that_breaks_a_rule_is_named(
    parts: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, trial = study(), changed(**parts)
    monkeypatch.setattr(made, "get_trials", lambda **options: [trial])
    with pytest.raises(StudyError, match=f"'mine' cannot be used: .*{words}"):
        check_study(made)


def test_hyperparameters_keep_their_kind_but_may_change_their_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def having(number: int, value: Any, distribution: Any) -> optuna.trial.FrozenTrial:
        trial = create_trial(value=0.5, params={"x": value}, distributions={"x": distribution})
        trial.number = number
        return trial

    made = study()
    first = having(0, 1, IntDistribution(1, 5))
    for second, fits in (
        (having(1, 9, IntDistribution(1, 9)), True),
        (having(1, 0.5, FloatDistribution(0, 1)), False),
        (having(1, 1, IntDistribution(1, 5, log=True)), False),
        (having(1, 1, CategoricalDistribution([1, 2])), False),
    ):
        monkeypatch.setattr(made, "get_trials", lambda second=second, **options: [first, second])
        if fits:
            check_study(made)
            continue
        with pytest.raises(StudyError, match="trial 1 has a hyperparameter 'x' of another kind"):
            check_study(made)


def test_the_version_of_a_note_must_be_a_number() -> None:
    made = study()
    save_note(made, "text")
    check_study(made)
    made._storage.set_study_system_attr(made._study_id, "dashboard:note_ver", "x")
    with pytest.raises(StudyError, match="its 'dashboard:note_ver' is 'x'; it must be a whole"):
        check_study(made)


def test_a_study_whose_objectives_are_not_those_of_its_facts_is_refused() -> None:
    two = optuna.create_study(study_name="mine", directions=["maximize", "minimize"])
    two.set_user_attr("space", "cnn")
    with pytest.raises(
        StudyError,
        match="its objectives are maximize and minimize; accuracy needs maximize",
    ):
        check_study(two)
    two.set_user_attr("objective", "accuracy,parameters")
    check_study(two)
    two.add_trial(create_trial(values=[0.5, 100.0]))
    check_study(two)
    one = study(create_trial(value=0.5), objective="accuracy,parameters")
    with pytest.raises(StudyError, match="accuracy,parameters needs maximize and minimize"):
        check_study(one)


@pytest.mark.parametrize("objective", ["parameters", "accuracy,accuracy", "accuracy, flops", 3])
def test_an_objective_that_no_search_stores_is_refused(objective: object) -> None:
    with pytest.raises(StudyError, match=r"'objective' is .*; it must be accuracy or balanced_ac"):
        check_study(study(objective=objective))


def test_every_ending_of_a_trial_is_allowed() -> None:
    ended = [create_trial(state=TrialState.FAIL), create_trial(state=TrialState.WAITING)]
    ended.append(create_trial(state=TrialState.PRUNED, value=0.5, intermediate_values={1: 0.5}))
    check_study(study(*ended))


def test_the_largest_values_that_the_flags_allow_can_be_stored() -> None:
    noted = {"seed": LARGEST, "max_params": LARGEST, "trial_timeout_seconds": 2.0**63 - 1024}
    check_study(study(epochs=MOST_EPOCHS, seed=LARGEST, settings=noted))
    for name in noted:
        with pytest.raises(StudyError, match="it must be names with numbers or text"):
            check_study(study(settings={name: LARGEST + 1}))
