"""Reading a study: all of it, or one clear line."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from reporting.chapters.pruning import stopped_trials
from reporting.errors import ReportError
from reporting.study_tables import read_study
from search.errors import StudyError
from search.study.storage import open_storage
from spaces.cnn import CnnSpace
from tests.reporting.made_evidence import made_study


def test_trials_parameters_and_curves_are_those_of_the_study(tmp_path: Path) -> None:
    study = made_study(tmp_path, 12)
    record = read_study(tmp_path, "cnn", None)
    assert list(record.trials.index) == list(range(12))
    for trial in study.trials:
        row = record.trials.loc[trial.number]
        assert row["state"] == trial.state.name
        assert trial.params.items() <= record.trial_params(trial.number).items()
        for epoch, value in trial.intermediate_values.items():
            assert record.curves.loc[trial.number, epoch] == value
    assert record.complete.index[0] == study.best_trial.number
    assert record.trials.loc[0, "name"] == "bn-cnn"
    assert "schedule" not in study.trials[0].params  # constant, which no search samples
    assert (
        record.trial_params(0)
        == CnnSpace(image_shape=(28, 28, 1), classes=10).baselines["bn-cnn"].params()
    )
    assert record.max_epochs == 8


def test_a_promoted_trial_has_the_epochs_of_the_one_it_went_on_with(tmp_path: Path) -> None:
    study = made_study(tmp_path, 5)
    parents = {}
    for epochs, parent in (((1, 2), None), ((3, 4), 5), ((1, 2), None), ((5, 6, 7, 8), 6)):
        facts = {"tuner": "hyperband", "promoted_from": parent, "initial_epoch": epochs[0] - 1}
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if epochs[-1] == 8 else TrialState.PRUNED,
                value=0.8 if epochs[-1] == 8 else None,
                intermediate_values={epoch: epoch / 10 for epoch in epochs},
                user_attrs={"keras_tuner": facts, "epochs": len(epochs), "seconds": 1.0},
            )
        )
        parents[len(study.trials) - 1] = parent
    record = read_study(tmp_path, "cnn", None)
    assert list(parents.values()) == [None, 5, None, 6]
    assert record.curves.loc[8].tolist() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    assert record.trials.loc[5:8, "continued"].tolist() == [True, True, False, False]
    assert [number for number in stopped_trials(record).index if number >= 5] == [7]
    # As if all had ended after an epoch, a configuration counts once.
    for epoch, reached in ((2, [5, 7]), (4, [6]), (8, [8])):
        early = record.after(epoch)
        complete = early.complete["value"]
        assert [number for number in sorted(complete.index) if number >= 5] == reached
        assert complete[reached].tolist() == [epoch / 10] * len(reached)
        assert [one.number for one in early.frozen if one.state == TrialState.COMPLETE] == sorted(
            complete.index
        )


def test_without_a_name_the_study_written_last_is_taken(tmp_path: Path) -> None:
    made_study(tmp_path, 5, name="older")
    made_study(tmp_path, 5, name="newer")
    assert read_study(tmp_path, None, None).study.study_name == "newer"
    for name, trials in (("refused", 0), ("begun", 1)):
        made_study(tmp_path, 0, name=name)
        study = optuna.load_study(
            study_name=name, storage=open_storage(tmp_path / name / "study.journal", None)
        )
        for _ in range(trials):
            study.ask()
    assert read_study(tmp_path, None, None).study.study_name == "newer"


def test_a_database_is_read_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    made_study(tmp_path, 5)
    optuna.copy_study(
        from_study_name="cnn",
        from_storage=open_storage(tmp_path / "cnn" / "study.journal", None),
        to_storage=url,
        to_study_name="copied",
    )
    assert len(read_study(tmp_path, "copied", url).trials) == 5
    with pytest.raises(StudyError, match=r"has no study 'gone'; its studies are copied"):
        read_study(tmp_path, "gone", url)
    with pytest.raises(ReportError, match=r"--storage \(or \$SEARCH_STORAGE\) .* needs --study"):
        read_study(tmp_path, None, url)


def test_no_study_at_all_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"there is no study in .* yet\. Run run_search\.py"):
        read_study(tmp_path, None, None)


def test_an_installed_command_names_the_installed_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/keras-search-report"])
    with pytest.raises(ReportError, match=r"yet\. Run keras-search first, or give the folder"):
        read_study(tmp_path, None, None)


def test_a_deleted_or_misspelt_study_is_one_line_with_those_there_are(tmp_path: Path) -> None:
    made_study(tmp_path, 5)
    for name, words in (
        ("cn", r"its studies are cnn\. Give --study.* Did you mean 'cnn'\?$"),
        ("x", r"its studies are cnn\. Give --study.* as for the search\.$"),
        ("absent", r"its studies are cnn\. Give --study.* as for the search\.$"),
    ):
        with pytest.raises(StudyError, match=rf"has no study '{name}'; {words}"):
            read_study(tmp_path, name, None)
    optuna.delete_study(
        study_name="cnn", storage=open_storage(tmp_path / "cnn" / "study.journal", None)
    )
    with pytest.raises(
        StudyError,
        match=r"cnn/study\.journal holds no study\. Run the search",
    ):
        read_study(tmp_path, "cnn", None)


def test_a_renamed_folder_is_one_line_that_says_what_it_must_be_called(tmp_path: Path) -> None:
    made_study(tmp_path, 5)
    (tmp_path / "cnn").rename(tmp_path / "renamed")
    with pytest.raises(StudyError, match=r"holds study 'cnn', not 'renamed': a folder must have"):
        read_study(tmp_path, "renamed", None)


def test_a_study_without_a_complete_trial_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cnn").mkdir()
    storage = open_storage(tmp_path / "cnn" / "study.journal", None)
    study = optuna.create_study(study_name="cnn", storage=storage, direction="maximize")
    study.set_user_attr("space", "cnn")
    with pytest.raises(ReportError, match=r"'cnn' in .* has no complete trial yet"):
        read_study(tmp_path, "cnn", None)
    study.enqueue_trial({})
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    failed = r"has no complete trial: all have failed, last reason: "
    with pytest.raises(ReportError, match=rf"{failed}no reason recorded\. Fix the cause, then run"):
        read_study(tmp_path, "cnn", None)
    trial = study.ask()
    trial.set_user_attr("reason", "ValueError: wrong")
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    with pytest.raises(ReportError, match=rf"{failed}ValueError: wrong\. Fix"):
        read_study(tmp_path, "cnn", None)
    study.tell(study.ask(), state=optuna.trial.TrialState.PRUNED)
    with pytest.raises(ReportError, match=r"has no complete trial yet.*Run the search again"):
        read_study(tmp_path, "cnn", None)


def test_a_study_of_another_program_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cnn").mkdir()
    storage = open_storage(tmp_path / "cnn" / "study.journal", None)
    optuna.create_study(study_name="cnn", storage=storage).optimize(lambda trial: 1.0, 1)
    with pytest.raises(ReportError, match=r"'cnn' in .* was made by another program"):
        read_study(tmp_path, "cnn", None)
