"""The page of `--compare`: who is on the leaderboard, who is not and why, what differs."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

import report
from predicting.config import CONFIG_FILE
from reporting import compare_studies
from reporting.comparison.page import Comparison
from reporting.errors import ReportError
from reporting.plan import Plan
from reporting.readout import Readout
from reporting.retraining import Retrained
from reporting.scoring import SCORES_FILE
from reporting.settings import ReportSettings
from reporting.statistics import compare
from reporting.study_tables import read_study
from reporting.views import Views
from search.data.dataset import LabeledImages
from search.errors import SettingsError, StorageError, StudyError
from search.files import locked
from search.study.storage import open_storage
from tests.reporting.made_evidence import CLOTHING, made_study
from tests.reporting.made_finals import LABELS, TEST, made_report


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three studies with reports of one protocol, and five that lack one for different reasons."""
    directory = tmp_path_factory.mktemp("results")
    made_report(directory, "good", 0.94, trials=30)
    made_report(directory, "bad", 0.86, precision="bfloat16")
    made_report(directory, "near", 0.93, seed=7, seeds=4)
    made_report(directory, "short", epochs=10)
    made_report(directory, "few", seeds=2)
    made_report(directory, "part", train_size=5_000, split={"train": 5_000, "val": 1_000})
    other = LabeledImages(images=TEST.images + 1, labels=LABELS)
    made_report(directory, "elsewhere", test=other)
    made_study(directory, 12, "unreported")
    return directory


@pytest.fixture(scope="module")
def compared(results: Path) -> Comparison:
    names = ("bad", "good", "near", "short", "few", "part", "elsewhere", "unreported")
    return compare_studies(*names, results_dir=results)


def table(page: Comparison, name: str, index: str) -> pd.DataFrame:
    return pd.read_csv(page.html.parent / "tables" / f"{name}.csv").set_index(index)


def test_the_leaderboard_ranks_the_winners_and_compares_them_with_the_first(
    compared: Comparison,
) -> None:
    board = table(compared, "leaderboard", "study")
    assert list(board.index) == ["good", "near", "bad"]
    assert list(board["n"]) == [3, 3, 3]  # the fourth seed of one of them is left out
    rows = {study.name: study.finals.row for study in compared.studies if study.finals}
    assert board.loc["good", "test_accuracy"] == pytest.approx(rows["good"].correct.mean())
    expected, _ = compare(rows["bad"].correct, [rows["good"].correct, rows["near"].correct])
    assert board.loc["good", "difference"] == pytest.approx(expected.mean)
    assert board.loc["good", "difference_low"] == pytest.approx(expected.low)
    assert board.loc["good", "p_holm"] == pytest.approx(expected.p_holm)
    assert np.isnan(board.loc["bad", "difference"])
    text = (compared.html.parent / "report.md").read_text()
    assert "good has the highest mean test accuracy" in text
    assert re.search(r"bad is worse than good by \d\.\d\d points and near by", text)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("short", r"trained for 10 epochs, that of bad for 20; run .*report\.py --study short "),
        ("few", r"trained with 2 seeds, that of bad with 3; run .* --epochs 20 --seeds 3$"),
        (
            "part",
            r"trained on 6,000 images, that of bad on all images; run .*--epochs 20 --seeds 3$",
        ),
        ("elsewhere", "scored on other test images"),
        (
            "unreported",
            r"no report with test .*; run .* --study unreported .* --epochs 20 --seeds 3$",
        ),
    ],
)
def test_a_study_without_comparable_results_is_named_with_the_reason(
    compared: Comparison, name: str, reason: str
) -> None:
    [study] = [study for study in compared.studies if study.name == name]
    assert study.finals is None
    assert re.search(reason, study.gap), study.gap
    page = compared.html.read_text()
    assert f"Not compared: {name}: " in page
    assert f"{name}" in re.search("Without test results under one protocol: (.*?)<", page)[1]  # type: ignore[index]


def test_costs_settings_and_curves_are_of_all_studies(compared: Comparison) -> None:
    costs = table(compared, "costs", "study")
    assert len(costs) == len(compared.studies)
    assert costs.loc["good", "report_cpu_seconds"] == 3 * 3600
    assert costs.loc[["good", "unreported"], "report_cpu_seconds"].notna().tolist() == [True, False]
    assert (costs["worker_seconds"] > 0).all()
    assert costs["cpu_seconds"].isna().all()  # not recorded in these trials
    settings = table(compared, "settings", "setting")
    assert set(settings.index) == {"precision", "split", "seed"}
    assert list(settings.loc["seed", ["good", "near"]]) == ["0", "7"]
    assert "space" not in settings.index
    configurations = table(compared, "configurations", "configuration")
    assert set(configurations.loc["winner"]) == {"trial 4", "trial 21"}
    reached = table(compared, "reached", "study")
    assert (reached["best"] >= reached["best"].min()).all()
    assert (compared.html.parent / "figures" / "best-so-far.png").stat().st_size > 5_000
    page = compared.html.read_text()
    assert "The studies differ in training or validation images" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)


def test_the_folder_is_named_after_the_studies(results: Path) -> None:
    page = compare_studies("good", "near", results_dir=str(results))
    assert page.html == results / "compare" / "good+near" / "report.html"
    text = page.html.read_text()
    assert "No significant difference between good and near" in text
    assert 'role="alert"' not in text
    assert "bootstrap interval over images and seeds" in text
    assert "The highest of several test accuracies is partly luck" in text


def test_with_one_seed_the_interval_is_over_images_only(tmp_path: Path) -> None:
    for name, accuracy in (("a", 0.9), ("b", 0.8)):
        made_report(tmp_path, name, accuracy, seeds=1)
    text = (compare_studies("a", "b", results_dir=tmp_path).html.parent / "report.md").read_text()
    assert "One seed cannot show a difference between a and b." in text
    assert "bootstrap interval over images only; variation between seeds unknown" in text
    assert "over images and seeds" not in text


def test_studies_that_are_called_like_a_column_have_their_own(tmp_path: Path) -> None:
    made_report(tmp_path, "setting", trials=30)
    made_report(tmp_path, "configuration", seed=7)
    page = compare_studies("setting", "configuration", results_dir=tmp_path)
    settings = table(page, "settings", "setting name")
    assert list(settings.columns) == ["setting", "configuration"]
    assert settings.loc["seed"].astype(str).tolist() == ["0", "7"]
    configurations = table(page, "configurations", "configuration name")
    assert list(configurations.columns) == ["setting", "configuration"]
    assert configurations.loc["winner"].tolist() == ["trial 21", "trial 4"]


def test_many_long_names_still_make_a_folder(tmp_path: Path) -> None:
    names = [f"{letter * 60}" for letter in "abc"]
    for name in names:
        made_study(tmp_path, 12, name)
    page = compare_studies(*names, results_dir=tmp_path)
    assert re.fullmatch(r"3 studies [0-9a-f]{12}", page.html.parent.name)
    assert "No study has a report with test results" in page.html.read_text()


def remove_training(study: Path) -> None:
    first, *_ = json.loads((study / "report" / CONFIG_FILE).read_text())["seeds"]
    for folder in (study / "retrainings").iterdir():
        if json.loads((folder / "record.json").read_text())["seed"] == first:
            shutil.rmtree(folder)


def remove_scores(study: Path) -> None:
    for file in study.glob(f"retrainings/*/{SCORES_FILE}"):
        file.write_bytes(b"no scores")


def change_report(**values: Any) -> Any:
    def change(study: Path) -> None:
        file = study / "report" / CONFIG_FILE
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def forget(key: str) -> Any:
    def change(study: Path) -> None:
        file = study / "report" / CONFIG_FILE
        content = json.loads(file.read_text())
        del content[key]
        file.write_text(json.dumps(content))

    return change


def write_predictions(study: Path) -> None:
    (study / "report" / "predictions.csv").write_text("label\nNo such class\n")


def enlarge_predictions(study: Path) -> None:
    os.truncate(study / "report" / "predictions.csv", 10**8 + 1)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (remove_training, r"the final training with seed \d+ is not kept; run "),
        (remove_scores, r"the final training with seed \d+ has no test results; run "),
        (
            change_report(test_accuracy=[0.5] * 4),
            "its report and its kept test results differ; ",
        ),
        (change_report(trial=9), "another study: trial is 9; it must be the number of a complete"),
        (change_report(epochs="many"), "epochs is 'many'; it must be a whole number from 1; run "),
        (change_report(params=None), "params is None; it must be an object; run "),
        (change_report(seeds=[1.5]), r"seeds is \[1.5\]; it must be a list of different whole nu"),
        (
            change_report(test_accuracy=[]),
            r"test_accuracy is \[\]; it must be a list of a number f",
        ),
        (change_report(model={"temperature": 99}), "model is .*; it must be an object, its temper"),
        (forget("params"), r"its best_config\.json has no params; run "),
        (change_report(dataset=3), "its report is damaged .*dataset is 3; it must be an object"),
        (write_predictions, "its report is damaged .*has the label 'No such class', which is no "),
        (enlarge_predictions, r"is damaged \(.*predictions\.csv: it is larger than 100 MB\); run "),
    ],
)
def test_a_damaged_report_is_a_reason_too(
    results: Path, tmp_path: Path, damage: Any, reason: str
) -> None:
    for name in ("good", "near"):
        shutil.copytree(results / name, tmp_path / name)
    damage(tmp_path / "near")
    page = compare_studies("good", "near", results_dir=tmp_path)
    assert [study.finals is None for study in page.studies] == [False, True]
    assert re.search(reason, page.studies[1].gap), page.studies[1].gap


def test_the_command_that_helps_names_the_database(results: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    for name in ("good", "unreported"):
        journal = open_storage((results / name / "study.journal").resolve(), None)
        optuna.copy_study(from_study_name=name, from_storage=journal, to_storage=url)
    shutil.copytree(results / "good", tmp_path / "good")
    page = compare_studies("good", "unreported", results_dir=tmp_path, storage=url)
    assert f" --storage {url} --epochs 20 --seeds 3" in page.studies[1].gap


def test_the_first_study_with_results_sets_the_protocol(results: Path) -> None:
    page = compare_studies("unreported", "short", "good", results_dir=results)
    assert [study.finals is None for study in page.studies] == [True, False, True]
    assert "that of short for 10" in page.studies[2].gap
    # The command for an earlier study has the protocol too.
    assert page.studies[0].gap.endswith(" --epochs 10 --seeds 3")


def test_a_winner_with_another_augmentation_is_shown_as_it_was_trained(
    results: Path, tmp_path: Path
) -> None:
    shutil.copytree(results / "good", tmp_path / "good")
    made_report(tmp_path, "changed", trials=30, shifted=True)
    page = compare_studies("good", "changed", results_dir=tmp_path)
    board = table(page, "leaderboard", "study")
    own, changed = board.loc["good", "winner"], board.loc["changed", "winner"]
    assert re.fullmatch(rf"{own} with (flip_)?shift", changed)
    configurations = table(page, "configurations", "configuration")
    assert list(configurations.index) == ["winner", "augmentation"]
    assert configurations.loc["augmentation", "changed"] == changed.rpartition(" ")[2]
    assert list(configurations.loc["winner"]) == [own, changed]


def test_a_winner_that_was_not_chosen_for_its_accuracy_alone_is_said_to_be(
    results: Path, tmp_path: Path
) -> None:
    for name in ("good", "near"):
        shutil.copytree(results / name, tmp_path / name)
    file = tmp_path / "good" / "report" / CONFIG_FILE
    rule = "the most accurate within --max-params 1,000"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"rule": rule}))
    page = compare_studies("good", "near", results_dir=tmp_path)
    note = (page.html.parent / "report.md").read_text()
    assert note.count("so a more accurate trial may exist") == 1
    assert f"The winner of good is {rule}, so" in note
    assert table(page, "leaderboard", "study").loc["good", "rule"] == rule
    file.write_text(json.dumps(config | {"rule": 5}))
    [good, _] = compare_studies("good", "near", results_dir=tmp_path).studies
    assert "rule is 5; it must be text" in good.gap


def test_results_are_read_as_the_report_has_read_them(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "good", tmp_path / "good")
    made_report(tmp_path, "both", 0.9, readout=Readout(views=Views(mirror=True), temperature=0.7))
    page = compare_studies("good", "both", results_dir=tmp_path)
    assert [study.gap for study in page.studies] == ["", ""]
    board = table(page, "leaderboard", "study")
    assert list(board.loc[["good", "both"], "views"]) == ["network alone", "mirror images"]
    assert list(board["precision"]) == ["float32", "float32"]
    reported = json.loads((tmp_path / "both" / "report" / CONFIG_FILE).read_text())
    expected = np.mean(reported["test_accuracy"])
    assert board.loc["both", "test_accuracy"] == pytest.approx(expected)


def test_a_report_whose_mean_was_one_of_probabilities_is_to_be_made_again(
    results: Path, tmp_path: Path
) -> None:
    for name in ("good", "near"):
        shutil.copytree(results / name, tmp_path / name)
    made_report(tmp_path, "old", 0.9, readout=Readout(views=Views(mirror=True), temperature=0.7))
    file = tmp_path / "old" / "report" / CONFIG_FILE
    content = json.loads(file.read_text())
    del content["model"]["shift_averaged"]
    file.write_text(json.dumps(content))
    page = compare_studies("good", "near", "old", results_dir=tmp_path)
    gap = page.studies[2].gap
    assert gap.startswith("its report was made by an earlier version; run ")
    assert gap.endswith(f"report.py --study old --results-dir {tmp_path} --epochs 20 --seeds 3")
    # Without mirror images nothing has changed.
    content["model"]["mirror_averaged"] = False
    file.write_text(json.dumps(content))
    page = compare_studies("good", "near", "old", results_dir=tmp_path)
    assert "earlier version" not in page.studies[2].gap


def test_a_failed_first_seed_leaves_the_others_to_compare(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "good", tmp_path / "good")
    made_report(tmp_path, "gap", seeds=4, failed=1)
    page = compare_studies("good", "gap", results_dir=tmp_path)
    assert [study.gap for study in page.studies] == ["", ""]


def test_trainings_of_a_space_that_records_few_epochs_are_found(
    results: Path, tmp_path: Path
) -> None:
    shutil.copytree(results / "good", tmp_path / "good")
    made_report(tmp_path, "own", recorded=1)
    page = compare_studies("good", "own", results_dir=tmp_path)
    assert [study.gap for study in page.studies] == ["", ""]
    assert list(table(page, "leaderboard", "study")["epochs"]) == [20, 20]


def test_a_winner_that_was_trained_as_a_baseline_is_found(results: Path, tmp_path: Path) -> None:
    for name in ("good", "near"):
        shutil.copytree(results / name, tmp_path / name)
    record = read_study(tmp_path, "good", None)
    [entry] = Plan(ReportSettings(seeds=1, epochs=20), record, CLOTHING, 60_000).winners(
        Plan(ReportSettings(epochs=20), record, CLOTHING, 60_000).candidates[0]
    )
    training = replace(entry.retrainings[0], shared=True)
    (tmp_path / ".baselines").mkdir()
    kept = tmp_path / "good" / "retrainings" / training.key
    kept.rename(tmp_path / ".baselines" / training.shared_key)
    page = compare_studies("good", "near", results_dir=tmp_path)
    assert [study.gap for study in page.studies] == ["", ""]


def test_class_names_that_a_spreadsheet_would_run_are_read_back(tmp_path: Path) -> None:
    names = ["a\r=b", *(f"={number}+1" for number in range(9))]
    for name in ("a", "b"):
        made_report(tmp_path, name, class_names=names)
    page = compare_studies("a", "b", results_dir=tmp_path)
    assert all(study.finals for study in page.studies)


def test_trials_that_have_their_cpu_seconds_recorded_are_counted(
    results: Path, tmp_path: Path
) -> None:
    for name in ("good", "near"):
        shutil.copytree(results / name, tmp_path / name)
    journal = tmp_path / "near" / "study.journal"
    text = journal.read_text()
    journal.write_text(
        text.replace('"images_per_second":', '"cpu_seconds":10.0,"images_per_second":')
    )
    page = compare_studies("good", "near", results_dir=tmp_path)
    ended = page.studies[1].record.trials["state"].isin(["COMPLETE", "PRUNED"]).sum()
    assert [study.cpu_seconds for study in page.studies] == [None, 10.0 * ended]


def test_the_command_says_the_results_and_what_is_missing(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(results)
    assert report.main(["--compare", "good", "near", "--results-dir", "."]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"good +test accuracy 9\d\.\d\d % ± .* \(n = 3, 95 % interval .*\)", lines[0]
    )
    assert lines[-1] == "comparison: compare/good+near/report.html"
    assert report.main(["--compare", "good", "short", "--results-dir", "."]) == 1
    assert "trained for 10 epochs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("good",), "--compare names 'good' alone; name two studies or more."),
        (("good", "near", "good"), "--compare names a study twice: good, near, good; name each"),
        (("good", "../near"), "--compare '../near' cannot name a folder"),
    ],
)
def test_names_that_cannot_be_compared_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        ReportSettings(compare=names)


@pytest.mark.parametrize(
    "given", [{"seeds": 5}, {"study": "good"}, {"retrain": False}, {"data": "mnist"}]
)
def test_flags_of_a_report_are_refused_with_compare(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"is of no use with --compare, which trains nothing"):
        ReportSettings(compare=("good", "near"), **given)


def test_an_unknown_study_is_one_line(results: Path) -> None:
    with pytest.raises(StudyError, match=r"no study 'goodd'; .* Did you mean 'good'\?"):
        compare_studies("near", "goodd", results_dir=results)


def test_a_study_without_a_complete_trial_is_refused(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results / "good", tmp_path / "good")
    made_study(tmp_path, 0, "empty")
    with pytest.raises(ReportError, match=r"study 'empty' .* has no complete trial yet"):
        compare_studies("good", "empty", results_dir=tmp_path)


def test_studies_of_different_data_are_refused(tmp_path: Path) -> None:
    made_study(tmp_path, 12, "clothes")
    fact = {"name": "pets", "image_shape": [8, 8, 3], "class_names": ["a", "b"], "mirror": None}
    made_study(tmp_path, 12, "pets", data="1" * 32, dataset=fact)
    message = r"study 'pets' was searched on pets \(MD5 1+\), study 'clothes' on data of MD5 0+: "
    with pytest.raises(ReportError, match=message):
        compare_studies("clothes", "pets", results_dir=tmp_path)
    assert not (tmp_path / "compare").exists()


@pytest.mark.parametrize("folder", ["near/report", ".baselines"])
def test_a_folder_with_a_link_is_refused(results: Path, tmp_path: Path, folder: str) -> None:
    for name in ("good", "near"):
        shutil.copytree(results / name, tmp_path / name)
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "more").symlink_to("/etc")
    with pytest.raises(StorageError, match="is a symbolic link"):
        compare_studies("good", "near", results_dir=tmp_path)


def test_a_second_comparison_at_once_is_refused(results: Path) -> None:
    (results / "compare").mkdir(exist_ok=True)

    def refusal(holder: str) -> Exception:
        return AssertionError(holder)

    with (
        locked(results / "compare", refusal),
        pytest.raises(ReportError, match="is already comparing studies"),
    ):
        compare_studies("good", "near", results_dir=results)


def test_kept_trainings_are_only_read(results: Path, compared: Comparison) -> None:
    folder = next((results / "good" / "retrainings").iterdir())
    assert Retrained.load(folder) is not None
    assert not (results / "good" / "report" / "report.html").exists()
