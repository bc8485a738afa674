"""The report, as a person makes it: a real search, real retrainings, real files.

Where a command's own process does not matter, it runs in that of the tests, which has TensorFlow.
"""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial
from scipy.special import softmax

from predicting.prediction import predict
from report import _say, main
from reporting.errors import Interrupted
from reporting.run import Outcome
from reporting.scoring import load_test_split
from reporting.views import Views, views_of
from search.data.idx import IdxFiles, open_idx
from search.errors import StopReason
from search.files import locked
from search.workers.keras_trainer import KerasTrainer, WorkerSettings
from search.workers.pool import WorkerPool
from tests import LONGEST_SECONDS
from tests.command_line import (
    ROOT,
    call,
    children,
    exit_code,
    kept_handlers,
    run,
    start,
    wait_until,
)
from tests.conftest import set_odd_keras, small_images, write_idx_data
from tests.reporting.made_evidence import made_evidence, made_study
from tests.search.threads import ThreadBackend

pytestmark = pytest.mark.xdist_group("report")  # share a search and a report

SMALL = ("--top", "2", "--epochs", "2", "--baseline-epochs", "1", "--workers", "1")
SEED = 1_700_003  # of the distilled network, in a search with --seed 1

Report = Callable[..., subprocess.CompletedProcess[str]]


def report(directory: Path, data: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return run(directory, data, *flags, program="report.py")


@pytest.fixture
def report_here(monkeypatch: pytest.MonkeyPatch) -> Report:
    """The same in this process, its workers in threads: TensorFlow need not start again.

    It imports the folder's modules too: no two tests may write one of the same name. Reports that
    train need `--workers`.
    """

    def make_pool(settings: WorkerSettings, *, count: int, log_dir: Path) -> WorkerPool:
        return WorkerPool(ThreadBackend(settings, KerasTrainer, count=count))

    def here(directory: Path, data: Path, *flags: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.syspath_prepend(directory)
        return call(main, directory, data, *flags, program="report.py")

    monkeypatch.setattr("reporting.run.make_pool", make_pool)
    return here


@pytest.fixture(scope="module")
def reported(searched: Path, small_data_with_test: Path) -> Path:
    """The same study with its report, of one new seed and two final ones."""
    flags = (*SMALL, "--candidate-seeds", "1", "--seeds", "2", "--ensemble", "--export", "litert")
    with pytest.MonkeyPatch.context() as patch:
        set_odd_keras(patch, searched)  # which changes nothing
        ended = report(searched, small_data_with_test, *flags)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^tuned +test accuracy \d+\.\d\d % ± .*\(n = 2, 95 % interval", ended.stdout)
    assert "report: results/mlp/report/report.html" in ended.stdout
    return searched / "results" / "mlp" / "report"


def test_all_its_files_are_there(reported: Path) -> None:
    html = (reported / "report.html").read_text()
    markdown = (reported / "report.md").read_text()
    for name in re.findall(r"!\[[^\]]*\]\((figures/[^)]+)\)", markdown):
        assert (reported / name).stat().st_size > 5_000
        assert (reported / name).with_suffix(".svg").exists()
    for name in re.findall(r"\(tables/([^)]+)\)", markdown):
        assert len(pd.read_csv(reported / "tables" / name)) > 0
    assert html.count('class="wide"') == markdown.count("](figures/") >= 10
    assert "Unfinished" not in html
    models = {"best_model.keras", "best_logits.keras", "best_model.tflite"}
    assert {file.name for file in reported.iterdir()} == models | {
        *("report.html", "report.md", "tables", "figures", "best_config.json", "predictions.csv")
    }
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)


def test_the_main_table_agrees_with_the_predictions(
    reported: Path, small_data_with_test: Path
) -> None:
    table = pd.read_csv(reported / "tables" / "accuracy.csv").set_index("network")
    predictions = pd.read_csv(reported / "predictions.csv")
    config = json.loads((reported / "best_config.json").read_text())
    # Whether mirroring makes sense for this data is not known, so the winner's augmentation tells.
    ways = views_of(None, config["params"]).ways
    chosen = Views(config["model"]["mirror_averaged"], config["model"]["shift_averaged"])
    assert chosen in ways
    others = {f"tuned, {way}" for way in ways if way != chosen}
    assert set(table.index) == {"tuned", "tuned, ensemble of 2", "mlp"} | others
    for name in table.index:
        seeds = 1 if "ensemble" in name else 2
        assert table.loc[name, "n"] == seeds
        right = predictions[f"{name}: seeds right"].mean() / seeds
        assert table.loc[name, "test_accuracy"] == pytest.approx(right)
    labels = load_test_split(open_idx(small_data_with_test)).labels
    assert len(predictions) == len(labels)


def test_the_model_loads_with_stock_keras_alone_and_predicts_what_the_report_says(
    reported: Path, small_data_with_test: Path, tmp_path: Path
) -> None:
    images = load_test_split(open_idx(small_data_with_test)).images
    np.save(tmp_path / "images.npy", images.astype(np.float32))  # raw, in [0, 255]
    program = (
        "import keras, numpy, sys\n"
        f"model = keras.saving.load_model({str(reported / 'best_model.keras')!r})\n"
        f"logits = keras.saving.load_model({str(reported / 'best_logits.keras')!r})\n"
        f"images = numpy.load({str(tmp_path / 'images.npy')!r})\n"
        f"numpy.save({str(tmp_path / 'found.npy')!r}, model.predict(images, verbose=0))\n"
        f"numpy.save({str(tmp_path / 'logits.npy')!r}, logits.predict(images / 255, verbose=0))\n"
        "assert not any(name.split('.')[0] in ('search', 'spaces') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)
    found = np.load(tmp_path / "found.npy")
    predictions = pd.read_csv(reported / "predictions.csv", dtype={"tuned: class": str})
    config = json.loads((reported / "best_config.json").read_text())
    names = np.array(config["dataset"]["class_names"])
    assert (names[found.argmax(axis=1)] == predictions["tuned: class"]).all()
    np.testing.assert_allclose(found.max(axis=1), predictions["tuned: probability"], atol=1e-4)
    given = predict(images, reported / "best_model.keras")
    assert [one.class_name for one in given] == predictions["tuned: class"].tolist()
    np.testing.assert_allclose(
        [one.probability for one in given], predictions["tuned: probability"], atol=1e-4
    )
    # The network alone is that of the first final seed, in its own file.
    alone = {
        file.parent / "test_scores.npz"
        for file in (reported.parent / "retrainings").glob("*/record.json")
        if json.loads(file.read_text())["seed"] == config["model"]["seed"]
        and (file.parent / "model.keras").read_bytes()
        == (reported / "best_logits.keras").read_bytes()
    }
    scores = np.load(alone.pop())
    logits = np.load(tmp_path / "logits.npy").astype(np.float64)
    np.testing.assert_allclose(softmax(logits, axis=1), scores["probabilities"], atol=1e-4)
    model = config["model"]
    others = Views(model["mirror_averaged"], model["shift_averaged"]).others
    logs = [np.log(scores[name]) for name in ("probabilities", *others)]
    mean = np.average(logs, axis=0, weights=[1, *others.values()])
    np.testing.assert_allclose(softmax(mean / model["temperature"], axis=1), found, atol=1e-4)


def test_a_users_own_settings_of_keras_change_nothing(
    reported: Path, small_data_with_test: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The search and the report had such settings too.
    set_odd_keras(monkeypatch, tmp_path)
    model = str(reported / "best_model.keras")
    flags = ("--demo", "--data", str(small_data_with_test), "--model", model, "--json")
    predicted = run(tmp_path, small_data_with_test, *flags, program="predict.py")
    assert predicted.returncode == 0, predicted.stderr
    expected = pd.read_csv(reported / "predictions.csv")["tuned: class"].astype(str)
    classes = {one["path"]: one["class"] for one in json.loads(predicted.stdout)}
    assert len(classes) == 25
    assert all(classes.get(f"test[{n}]", name) == name for n, name in enumerate(expected))


def test_the_calibration_is_shown_before_and_after(reported: Path) -> None:
    text = (reported / "report.md").read_text()
    temperature = json.loads((reported / "best_config.json").read_text())["model"]["temperature"]
    if temperature == 1:  # so short a training may be no better than chance
        assert "The temperature stays 1: the likelihood of 100 validation images has no" in text
        return
    assert f"Logits are divided by the temperature {temperature:.3g}. It minimizes the" in text
    assert "of 100 validation images, predicted by 1 training of the winner without these" in text
    assert re.search(r"points for tuned .*, [\d.]+ points for tuned at temperature 1 ", text)


def test_a_report_can_be_compared_with_that_of_another_study(
    reported: Path, small_data_with_test: Path, tmp_path: Path, report_here: Report
) -> None:
    results = tmp_path / "results"
    for name in ("mlp", "same"):
        shutil.copytree(reported.parent, results / name)
    journal = results / "same" / "study.journal"
    journal.write_text(journal.read_text().replace('"study_name":"mlp"', '"study_name":"same"'))
    ended = report_here(tmp_path, small_data_with_test, "--compare", "mlp", "same")
    assert ended.returncode == 0, ended.stderr
    board = pd.read_csv(results / "compare" / "mlp+same" / "tables" / "leaderboard.csv")
    accuracy = pd.read_csv(reported / "tables" / "accuracy.csv").set_index("network")
    assert list(board["test_accuracy"]) == [accuracy.loc["tuned", "test_accuracy"]] * 2
    assert list(board["difference"].dropna()) == [0.0]
    costs = pd.read_csv(results / "compare" / "mlp+same" / "tables" / "costs.csv")
    assert (costs["cpu_seconds"] > 0).all()


def test_the_same_command_trains_nothing_and_finds_its_fitted_epochs_again(
    reported: Path, small_data_with_test: Path
) -> None:
    (reported.parent / "retrainings" / "fitted.json").write_text(
        '{"7": {"epochs": 2, "baseline_seeds": 2}}'
    )
    flags = ("--top", "2", "--baseline-epochs", "1", "--workers", "1", "--candidate-seeds", "1")
    flags += ("--seeds", "2", "--minutes", "7")
    again = report(reported.parent.parent.parent, small_data_with_test, *flags)
    assert again.returncode == 0, again.stderr
    # What there is to do, which is nothing, and not a word of TensorFlow's.
    first, choosing, scoring = again.stderr.splitlines()
    count = len(pd.read_csv(reported / "tables" / "candidates.csv"))
    assert first == f"study 'mlp': 0 of {count + 4} trainings to do, about 0 s with 1 worker"
    assert re.fullmatch(
        r"  to choose the winner: .*trial 0 \(default\).*; 1 new seed each, 2 epochs, which "
        r"were fitted to --minutes 7",
        choosing,
    )
    assert scoring == (
        "  to score on the test part: 2 seeds of the winner, 2 epochs; 2 seeds each of 1 "
        "baseline, 1 epoch"
    )
    assert "n = 2" in again.stdout
    facts = pd.read_csv(reported / "tables" / "facts.csv").set_index("fact")["value"]
    assert facts["Final trainings"] == (
        "winner: 2 seeds, 2 epochs (fitted to --minutes 7); each baseline: 2 seeds, 1 epoch"
    )


def test_baselines_lie_beside_the_studies(reported: Path) -> None:
    kept = [
        json.loads(file.read_text())
        for file in (reported.parent.parent / ".baselines").glob("*/record.json")
    ]
    assert {600000, 600001} <= {record["seed"] for record in kept}
    assert all(record["origin"]["study"] == "mlp" for record in kept)


def test_a_report_with_results_is_not_replaced_by_one_without(
    reported: Path, small_data_with_test: Path, report_here: Report
) -> None:
    before = sorted(reported.rglob("*"))
    flags = ("--no-retrain", "--quiet", "--epochs", "77", "--seeds", "1", "--top", "1")
    ended = report_here(reported.parent.parent.parent, small_data_with_test, *flags)
    assert ended.returncode == 2
    assert "report has test results, which the new report would lose: " in ended.stderr
    assert sorted(reported.rglob("*")) == before


def test_without_retraining_the_gaps_are_marked_and_the_test_split_stays_closed(
    searched: Path, small_data: Path, tmp_path: Path, report_here: Report
) -> None:
    copy_study(searched, tmp_path)
    # The folder without test files proves that they are not opened.
    ended = report_here(tmp_path, small_data, "--no-retrain")
    assert ended.returncode == 0, ended.stderr
    assert "no test results" in ended.stdout
    assert "Unfinished" in (tmp_path / "results" / "mlp" / "report" / "report.html").read_text()


def test_a_preview_is_marked_and_leaves_the_report_alone(
    reported: Path, small_data_with_test: Path, report_here: Report
) -> None:
    before = (reported / "report.html").read_bytes()
    directory = reported.parent.parent.parent
    ended = report_here(directory, small_data_with_test, "--quick", "--workers", "1")
    assert ended.returncode == 0, ended.stderr
    preview = (reported.parent / "report-preview" / "report.html").read_text()
    assert 'role="alert">Preview (--quick): 1 seed, 2 epochs.' in preview
    table = pd.read_csv(reported.parent / "report-preview" / "tables" / "accuracy.csv")
    assert table.set_index("network").loc["tuned", "n"] == 1
    assert (reported / "report.html").read_bytes() == before


def copy_study(searched: Path, directory: Path) -> Path:
    """The same study in another folder, nothing retrained; where its retrainings will be."""
    folder = directory / "results" / "mlp"
    folder.mkdir(parents=True)
    journal = searched / "results" / "mlp" / "study.journal"
    (folder / "study.journal").write_bytes(journal.read_bytes())
    return folder / "retrainings"


def records(retrainings: Path) -> dict[Path, int]:
    """When each finished training was written, in nanoseconds."""
    folders = (retrainings, retrainings.parent.parent / ".baselines")
    files = (file for folder in folders for file in folder.glob("[!.]*/record.json"))
    return {file: file.stat().st_mtime_ns for file in files}


def distilled(retrainings: Path) -> list[Path]:
    """Folders of the finished distilled networks."""
    files = records(retrainings)
    return [file.parent for file in files if json.loads(file.read_text())["seed"] == SEED]


def own_study(directory: Path, data: Path, space: str) -> None:
    """Write the study of a user's space as a search of one trial leaves it."""
    study = made_study(
        directory / "results",
        0,
        name=space.replace(":", "."),
        space=space,
        epochs=1,
        data=open_idx(data).fingerprint,
        split={"train": None, "val": 100},
    )
    attrs = {"seed": 0, "epochs": 1, "seconds": 1.0, "images_per_second": 1000.0, "parameters": 1}
    trial = create_trial(
        value=0.5,
        params={"units": 10},
        distributions={"units": IntDistribution(8, 32)},
        intermediate_values={1: 0.5},
        user_attrs=attrs,
    )
    study.add_trial(trial)


def test_sigterm_keeps_what_is_finished_and_says_how_to_go_on(
    searched: Path, small_data_with_test: Path, tmp_path: Path
) -> None:
    retrainings = copy_study(searched, tmp_path)
    # Many short trainings: the first soon ends, the others do not all end before the signal.
    flags = (*SMALL, "--epochs", "60", "--candidate-seeds", "3", "--seeds", "1")
    process = start(tmp_path, small_data_with_test, *flags, program="report.py")
    wait_until(lambda: len(records(retrainings)) >= 1)
    for _ in range(3):  # to the workers as well, as a service manager sends it
        os.killpg(process.pid, signal.SIGTERM)
        time.sleep(0.02)
    _, said = process.communicate(timeout=LONGEST_SECONDS)
    assert process.returncode == 143, said
    assert "stopped by SIGTERM; every finished training is kept" in said
    assert f"continue: python {ROOT}/report.py {' '.join(flags)}" in said
    assert "Traceback" not in said
    assert len(records(retrainings)) >= 1


def test_a_second_ctrl_c_does_not_cut_off_the_answer_to_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Impatient(io.StringIO):
        def write(self, text: str) -> int:
            signal.raise_signal(signal.SIGINT)
            return super().write(text)

    def stopped(*arguments: object) -> None:
        raise Interrupted(StopReason.SIGTERM)

    monkeypatch.setattr("reporting.run.run_report", stopped)
    monkeypatch.setattr("sys.stderr", Impatient())
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    with kept_handlers():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        assert main(["--quiet"]) == 143
        assert sys.stderr.getvalue().endswith("continue: python report.py --quiet\n")


def test_after_kill_9_only_the_rest_of_more_seeds_is_trained_and_the_distilled_network_once(
    reported: Path, small_data_with_test: Path, report_here: Report
) -> None:
    directory, retrainings = reported.parent.parent.parent, reported.parent / "retrainings"
    flags = (*SMALL, "--candidate-seeds", "1", "--seeds", "4", "--baseline-seeds", "2")
    flags += ("--ensemble", "--distill")
    before = records(retrainings)
    process = start(directory, small_data_with_test, *flags, program="report.py")
    wait_until(lambda: len(records(retrainings)) > len(before))
    workers = children(process.pid)  # the fourth seed is being trained
    assert workers
    process.kill()
    process.communicate()
    wait_until(lambda: not any(map(psutil.pid_exists, workers)))
    kept = records(retrainings)
    assert before.items() < kept.items()
    assert not distilled(retrainings)

    ended = report_here(directory, small_data_with_test, *flags)
    assert ended.returncode == 0, ended.stderr
    missing = 3 - (len(kept) - len(before))  # of two seeds and the distilled network
    whole = len(pd.read_csv(reported / "tables" / "candidates.csv")) + 4 + 1 + 2
    first, _, scoring = ended.stderr.splitlines()[:3]
    assert first.startswith(f"study 'mlp': {missing} of {whole} trainings to do, about ")
    assert scoring == (
        "  to score on the test part: 4 seeds of the winner, 2 epochs; then one network distilled "
        "from them; 2 seeds each of 1 baseline, 1 epoch"
    )
    assert ended.stderr.count("retrained in") == missing
    assert ended.stderr.count(f"distilled, seed {SEED}: retrained in") == 1
    after = records(retrainings)
    assert len(after) == len(kept) + missing
    assert kept.items() < after.items()

    [folder] = distilled(retrainings)
    table = pd.read_csv(reported / "tables" / "accuracy.csv").set_index("network")
    assert {"tuned", "tuned, ensemble of 4", "distilled"} <= set(table.index)
    assert (table.loc["distilled", "n"], table.loc["distilled", "epochs"]) == (1, 2)
    own = json.loads((folder / "record.json").read_text())["cpu_seconds"]
    teachers = table.loc["tuned, ensemble of 4", "train_cpu_seconds"]
    assert table.loc["distilled", "train_cpu_seconds"] == pytest.approx(teachers + own)
    assert table.loc["distilled", "parameters"] == table.loc["tuned", "parameters"]
    config = json.loads((reported / "best_config.json").read_text())
    assert config["model"]["row"] == "tuned" and SEED not in config["seeds"]
    assert "tuned" in ended.stdout.splitlines()[0]
    page = (reported / "report.html").read_text().replace("\n", " ")
    assert "; distilled from these: 1 seed; each baseline" in page
    assert "of 4 final trainings, which have trained on that label too" in page
    predictions = pd.read_csv(reported / "predictions.csv")
    right = predictions["distilled: seeds right"].mean()
    assert table.loc["distilled", "test_accuracy"] == pytest.approx(right)


def test_failed_trainings_are_said_and_give_exit_code_1(
    small_data_with_test: Path, tmp_path: Path, report_here: Report
) -> None:
    (tmp_path / "failing.py").write_text(
        """
from pathlib import Path

import keras


class Mine:
    def build(self, hp):
        if Path("broken").exists():
            raise ValueError("it is broken")
        model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(),
                                  keras.layers.Dense(hp.Int("units", 8, 32), "relu"),
                                  keras.layers.Dense(10, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model
"""
    )
    own_study(tmp_path, small_data_with_test, "failing:Mine")
    page = tmp_path / "results" / "failing.Mine" / "report" / "report.html"
    flags = (*SMALL, "--top", "1", "--averaging", "--space", "failing:Mine")
    gap = report_here(tmp_path, small_data_with_test, *flags, "--seeds", "1", "--distill")
    assert gap.returncode == 1, gap.stderr
    assert re.search(r"^tuned +test accuracy ", gap.stdout, re.MULTILINE)
    assert "--averaging adds no row: the space has no such choice\n" in gap.stdout
    why = "failed, the space compiles its model with a loss for integer labels, so it cannot be "
    assert f"seed 700000 {why}" in gap.stdout
    assert "failed trainings: 1; see the report for the reasons\n" in gap.stdout
    assert "distilled, 0 of 1 trainings" in page.read_text()

    (tmp_path / "broken").touch()
    broken = report_here(tmp_path, small_data_with_test, *flags, "--seeds", "2", "--quiet")
    assert broken.returncode == 1, broken.stderr
    assert "failed, ValueError: it is broken" in broken.stdout
    assert "failed trainings: 1; see the report for the reasons\n" in broken.stdout
    assert "it is broken" in page.read_text()


@pytest.mark.parametrize(
    ("averages", "line"),
    [
        (True, "--averaging adds no row: the winner averages its weights\n"),
        (False, None),
        (None, "--averaging adds no row: the space has no such choice\n"),
    ],
)
def test_averaging_that_changes_nothing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], averages: bool | None, line: str | None
) -> None:
    evidence = made_evidence(tmp_path, trials=8, averaging=True)
    tuned = evidence.tuned
    assert tuned is not None
    params = {name: value for name, value in tuned.params.items() if name != "weight_averaging"}
    if averages is not None:
        params["weight_averaging"] = averages
    rows = [replace(row, params=params) if row is tuned else row for row in evidence.rows]
    _say(Outcome(html=tmp_path / "report.html", evidence=replace(evidence, rows=rows)))
    said = capsys.readouterr().out
    assert (line in said) if line else ("--averaging" not in said)


def test_a_file_that_could_not_be_exported_is_said_and_gives_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "best_model.onnx cannot be written, ValueError: no such operation"
    outcome = Outcome(
        html=tmp_path / "report.html",
        evidence=made_evidence(tmp_path / "results", trials=8),
        unexported=[line],
    )
    monkeypatch.setattr("reporting.run.run_report", lambda *arguments: outcome)
    assert main(["--quiet"]) == 1
    assert line in capsys.readouterr().out.splitlines()


def test_the_code_of_somebody_elses_study_is_not_run(
    small_data_with_test: Path, tmp_path: Path, report_here: Report
) -> None:
    space, data = "results.evil.payload:Space", open_idx(small_data_with_test).fingerprint
    split = {"train": None, "val": 100}
    made_study(tmp_path / "results", 5, name="evil", data=data, space=space, split=split)
    (tmp_path / "results" / "evil" / "payload.py").write_text("open('ran', 'w')")
    refused = report_here(tmp_path, small_data_with_test)
    assert refused.returncode == 2
    assert re.fullmatch(
        r"report: study 'evil' was searched in 'results\.evil\.payload:Space', which is not built "
        r"in: .* If you trust it, run: python .*/report\.py --space results\.evil\.payload:Space\n",
        refused.stderr,
    )
    for flags in (["--study", "evil"], ["--quick"], ["--no-retrain"]):
        refused = report_here(tmp_path, small_data_with_test, *flags)
        assert refused.returncode == 2
        expected = f"report.py {' '.join(flags)} --space results.evil.payload:Space\n"
        assert refused.stderr.endswith(expected)
    other = report_here(tmp_path, small_data_with_test, "--space", "mine:Mine")
    assert other.returncode == 2
    assert "--space is 'mine:Mine', but study 'evil' was" in other.stderr
    assert not (tmp_path / "ran").exists()

    # Given on the command line it is the user's own decision.
    trusted = report_here(tmp_path, small_data_with_test, "--space", space, "--workers", "1")
    assert "has no 'Space'" in trusted.stderr
    assert (tmp_path / "ran").exists()


def test_names_and_texts_of_somebody_elses_study_are_escaped_everywhere(
    small_data_with_test: Path, tmp_path: Path, report_here: Report
) -> None:
    evil = "<script>alert(1)</script>|\x1b]0;title\x07\u202e\ud800\n[x](javascript:x)"
    name, formula = "<b>$x", "=cmd|'/C calc'!A0"
    study = made_study(
        tmp_path / "results",
        12,
        name=name,
        data=open_idx(small_data_with_test).fingerprint,
        split={"train": None, "val": 100},
        engine=formula,
        machine=f"x\r{formula}",
        commit=evil,
        command=evil,
        settings={evil: evil},
    )
    attrs = {"known_as": formula, "reason": evil, "ended": evil}
    study.add_trial(create_trial(state=TrialState.FAIL, user_attrs=attrs))
    ended = report_here(tmp_path, small_data_with_test, "--study", name, "--no-retrain")
    assert ended.returncode == 0, ended.stderr
    shown = "results/<b>$x/report/report.html"
    assert ended.stdout.endswith(f"report: {shown}\n")
    folder = tmp_path / "results" / name / "report"
    html, markdown = ((folder / f"report.{kind}").read_text() for kind in ("html", "md"))
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "](javascript" not in markdown.replace("\\](", "")
    texts = [html, markdown, *(file.read_text() for file in folder.rglob("*.csv"))]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", "".join(texts))
    assert not any(re.search(r"(^|,|\")=cmd", text, re.MULTILINE) for text in texts[2:])


def test_links_among_the_shared_baselines_are_not_followed(
    small_data_with_test: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made_study(tmp_path / "results", 5, data=open_idx(small_data_with_test).fingerprint)
    (tmp_path / "results" / ".baselines").mkdir()
    (tmp_path / "results" / ".baselines" / "0123").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASHION_MNIST_DIR", str(small_data_with_test))
    assert main(["--study", "cnn", "--workers", "1"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("report: results/.baselines/0123 is a symbolic link")
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["retrainings", "report.lock", "logs", "study.journal"])
def test_links_in_a_studys_folder_are_not_followed_out_of_it(
    small_data_with_test: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    folder, outside = tmp_path / "results" / "cnn", tmp_path / "outside"
    made_study(tmp_path / "results", 5, data=open_idx(small_data_with_test).fingerprint)
    outside.mkdir()
    (outside / "file").write_text("mine")
    (folder / "study.journal").replace(outside / "study.journal")
    if name != "study.journal":
        (outside / "study.journal").replace(folder / "study.journal")
    target = {"study.journal": "study.journal", "report.lock": "file"}.get(name, "")
    (folder / name).symlink_to(outside / target)
    before = sorted(outside.rglob("*"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASHION_MNIST_DIR", str(small_data_with_test))
    assert main(["--study", "cnn", "--workers", "1"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"report: results/cnn/{name} is a symbolic link")
    assert said.count("\n") == 1
    assert sorted(outside.rglob("*")) == before
    assert (outside / "file").read_text() == "mine"


BAD = {
    "no study": (("--results-dir", "none"), "report: there is no study in none yet."),
    "unknown study": (
        ("--study", "gone"),
        "report: HERE/results has no study 'gone'; its studies are ",
    ),
    "seeds": (("--seeds", "0"), "report: --seeds is 0; it must be 1 or more."),
    "top": (("--top", "-1"), "report: --top is -1; it must be 1 or more."),
    "baseline seeds": (
        ("--baseline-seeds", "0"),
        "report: --baseline-seeds is 0; it must be 1 or more.",
    ),
    "minutes": (("--minutes", "0"), "report: --minutes is 0.0; it must be above 0."),
    "minutes and epochs": (
        ("--minutes", "9", "--epochs", "5"),
        "report: --minutes is 9, but --epochs leaves no epochs to fit to it; leave one of the two",
    ),
    "minutes of a preview": (
        ("--minutes", "9", "--quick"),
        "report: --minutes is 9, but --quick leaves no epochs to fit to it; leave one of the two",
    ),
    "seeds of a preview": (
        ("--quick", "--seeds", "2"),
        "report: --seeds is 2, but --quick sets it to 1; leave one of the two out.",
    ),
    "epochs of a preview": (
        ("--quick", "--epochs", "7"),
        "report: --epochs is 7, but --quick sets it to 2; leave one of the two out.",
    ),
    "too few minutes": (
        ("--minutes", "0.001"),
        "report: --minutes is 0.001, but the trainings take about ",
    ),
    "minutes that nothing was fitted to": (
        ("--minutes", "0.002", "--no-retrain"),
        "report: --minutes is 0.002, but no report of this study was fitted to that time, so there",
    ),
    "workers": (
        ("--workers", "many"),
        "report: --workers is 'many'; it must be auto or a whole number above 0",
    ),
    "too many workers": (("--workers", "9999"), "report: --workers is 9999; on "),
    "flag": (("--seed", "1"), "report: --seed is unknown; see --help. Did you mean '--seeds'?"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(
    searched: Path,
    small_data_with_test: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: str,
) -> None:
    flags, line = BAD[case]
    monkeypatch.chdir(searched)
    monkeypatch.setenv("FASHION_MNIST_DIR", str(small_data_with_test))
    assert exit_code(main, *flags) == 2
    said = capsys.readouterr().err
    assert said.startswith(line.replace("HERE", str(searched)))
    assert said.count("\n") == 1


def test_a_wrong_flag_ends_the_process_with_one_line(tmp_path: Path, small_data: Path) -> None:
    flags, line = BAD["flag"]
    ended = report(tmp_path, small_data, *flags)
    assert ended.returncode == 2
    assert ended.stderr.startswith(line)
    assert ended.stderr.count("\n") == 1


def test_other_data_than_the_search_had_are_refused(
    searched: Path, tmp_path: Path, report_here: Report
) -> None:
    write_idx_data(tmp_path, *small_images(60, seed=5))
    ended = report_here(searched, tmp_path)
    assert ended.returncode == 2
    assert re.match(r"report: data set .* is not the one that the search used \(MD5 ", ended.stderr)


def test_missing_test_files_are_one_line_and_lose_nothing(
    searched: Path, small_data: Path, report_here: Report
) -> None:
    ended = report_here(searched, small_data, *SMALL, "--candidate-seeds", "1", "--seeds", "1")
    assert ended.returncode == 2
    assert re.search(r"^report: .* has no t10k-images-idx3-ubyte\.gz", ended.stderr, re.MULTILINE)


def test_help_is_complete_and_needs_no_tensorflow(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / "report.py"), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    flags = set(re.findall(r"--[a-z-]+", ended.stdout))
    assert {"--study", "--seeds", "--epochs", "--no-retrain", "--quick", "--ensemble"} <= flags
    for heavy in ("tensorflow", "keras", "pandas", "matplotlib", "optuna"):
        assert f"| {heavy}\n" not in ended.stderr


def test_data_that_is_replaced_before_a_worker_reads_it_ends_the_report(
    searched: Path,
    small_data_with_test: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    report_here: Report,
) -> None:
    data = tmp_path / "data"
    shutil.copytree(small_data_with_test, data)

    def replace_data(files: IdxFiles) -> None:  # the report has checked the data by then
        shutil.rmtree(files.directory)
        files.directory.mkdir()
        write_idx_data(files.directory, *small_images(20, seed=2))

    monkeypatch.setattr(IdxFiles, "require_test", replace_data)
    before = sorted((searched / "results" / "mlp" / "retrainings").glob("*"))
    ended = report_here(searched, data, "--data", str(data), *SMALL, "--epochs", "7")
    assert ended.returncode == 2
    assert f"data set {data.name} has changed since the study began (MD5" in ended.stderr
    assert sorted((searched / "results" / "mlp" / "retrainings").glob("*")) == before


def test_two_reports_of_one_study_do_not_meet(
    searched: Path, small_data_with_test: Path, report_here: Report
) -> None:
    retrainings = searched / "results" / "mlp" / "retrainings"
    retrainings.mkdir(exist_ok=True)
    with locked(retrainings, ValueError):
        ended = report_here(searched, small_data_with_test)
    assert ended.returncode == 2
    assert "report: this process is already reporting this study" in ended.stderr


def test_a_model_that_cannot_be_kept_is_not_trained_and_gives_exit_code_1(
    small_data_with_test: Path, tmp_path: Path, report_here: Report
) -> None:
    (tmp_path / "lambdas.py").write_text(
        """
import keras


def build(hp):
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Lambda(lambda x: 2 * x),
                             keras.layers.Dense(hp.Int("units", 10, 10))])
"""
    )
    own_study(tmp_path, small_data_with_test, "lambdas:build")
    ended = report_here(tmp_path, small_data_with_test, *SMALL, "--space", "lambdas:build")
    assert ended.returncode == 1
    reason = "a report cannot use the model: keras.saving.load_model cannot load it, ValueError: "
    assert f"seed 500000: failed, {reason}" in ended.stderr
    assert "no test results" in ended.stdout
