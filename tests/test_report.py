"""The report, as a person makes it: a real search, real retrainings, real files."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reporting.measuring.test_split import load_test_split
from tests.command_line import ROOT, run, start, wait_until

SEARCH = ("--space", "mlp", "--epochs", "1", "--val-size", "100", "--trials", "4", "--seed", "1")
SMALL = ("--top", "2", "--epochs", "2", "--baseline-epochs", "1", "--workers", "1")


def report(directory: Path, data: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return run(directory, data, *flags, program="report.py")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, small_data_with_test: Path) -> Path:
    """A folder with a finished study `mlp`, nothing retrained."""
    directory = tmp_path_factory.mktemp("searched")
    ended = run(directory, small_data_with_test, *SEARCH, "--workers", "1", "--pruner", "none")
    assert ended.returncode == 0, ended.stderr
    return directory


@pytest.fixture(scope="module")
def reported(searched: Path, small_data_with_test: Path) -> Path:
    """The same folder with its report, of one fresh seed and two final ones."""
    flags = (*SMALL, "--candidate-seeds", "1", "--seeds", "2", "--ensemble")
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
    assert html.count("<img") == markdown.count("](figures/") > 10
    assert "Unfinished" not in html
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)


def test_the_main_table_agrees_with_the_predictions(
    reported: Path, small_data_with_test: Path
) -> None:
    table = pd.read_csv(reported / "tables" / "accuracy.csv").set_index("network")
    predictions = pd.read_csv(reported / "predictions.csv")
    assert set(table.index) == {"tuned", "tuned, flip averaged", "tuned, ensemble of 2", "mlp"}
    for name in table.index:
        seeds = 1 if "ensemble" in name else 2
        assert table.loc[name, "n"] == seeds
        right = predictions[f"{name}: seeds right"].mean() / seeds
        assert table.loc[name, "test_accuracy"] == pytest.approx(right)
    labels = load_test_split(small_data_with_test).labels
    assert len(predictions) == len(labels)


def test_the_model_loads_with_stock_keras_alone_and_predicts_the_same(
    reported: Path, small_data_with_test: Path, tmp_path: Path
) -> None:
    images = load_test_split(small_data_with_test).images[..., None].astype(np.float32) / 255
    np.save(tmp_path / "images.npy", images)
    program = (
        "import keras, numpy, sys\n"
        f"model = keras.saving.load_model({str(reported / 'best_model.keras')!r})\n"
        f"images = numpy.load({str(tmp_path / 'images.npy')!r})\n"
        f"numpy.save({str(tmp_path / 'logits.npy')!r}, model.predict(images, verbose=0))\n"
        "assert not any(name.split('.')[0] in ('search', 'spaces') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)
    config = json.loads((reported / "best_config.json").read_text())
    folders = [
        file.parent
        for file in (reported.parent / "retrainings").glob("*/record.json")
        if json.loads(file.read_text())["seed"] == config["model"]["seed"]
        and (file.parent / "model.keras").read_bytes()
        == (reported / "best_model.keras").read_bytes()
    ]
    scores = np.load(folders[0] / "test_scores.npz")
    logits = np.load(tmp_path / "logits.npy").astype(np.float64)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax, scores["probabilities"], atol=1e-4)


def test_the_same_command_trains_nothing_and_more_seeds_only_the_new_ones(
    reported: Path, small_data_with_test: Path
) -> None:
    directory = reported.parent.parent.parent
    flags = (*SMALL, "--candidate-seeds", "1")
    again = report(directory, small_data_with_test, *flags, "--seeds", "2")
    assert again.returncode == 0
    assert "retrained" not in again.stderr
    more = report(directory, small_data_with_test, *flags, "--seeds", "3")
    assert more.returncode == 0
    assert more.stderr.count("retrained") == 2
    assert "n = 3" in more.stdout


def test_without_retraining_the_gaps_are_marked_and_the_test_split_stays_closed(
    searched: Path, small_data_with_test: Path, small_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "results" / "mlp").mkdir(parents=True)
    journal = searched / "results" / "mlp" / "study.journal"
    (tmp_path / "results" / "mlp" / "study.journal").write_bytes(journal.read_bytes())
    # The folder without test files proves that they are not opened.
    ended = report(tmp_path, small_data, "--no-retrain")
    assert ended.returncode == 0, ended.stderr
    assert "no test results" in ended.stdout
    assert "Unfinished" in (tmp_path / "results" / "mlp" / "report" / "report.html").read_text()


def test_a_preview_is_marked_and_leaves_the_report_alone(
    reported: Path, small_data_with_test: Path
) -> None:
    before = (reported / "report.html").read_bytes()
    directory = reported.parent.parent.parent
    ended = report(directory, small_data_with_test, "--quick", "--workers", "1")
    assert ended.returncode == 0, ended.stderr
    preview = (reported.parent / "report-preview" / "report.html").read_text()
    assert 'role="alert">Preview (--quick): 1 seed, 2 epochs.' in preview
    assert (reported / "report.html").read_bytes() == before


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(
    searched: Path, small_data_with_test: Path, tmp_path: Path
) -> None:
    (tmp_path / "results" / "mlp").mkdir(parents=True)
    journal = searched / "results" / "mlp" / "study.journal"
    (tmp_path / "results" / "mlp" / "study.journal").write_bytes(journal.read_bytes())
    flags = (*SMALL, "--epochs", "500", "--candidate-seeds", "1", "--seeds", "1")
    process = start(tmp_path, small_data_with_test, *flags, program="report.py")
    kept = tmp_path / "results" / "mlp" / "retrainings"
    wait_until(lambda: len(list(kept.glob("*/record.json"))) >= 1)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped by Ctrl-C; every finished training is kept" in said
    assert "continue: python report.py --top 2" in said
    assert len(list(kept.glob("*/record.json"))) >= 1


BAD = {
    "no study": (("--results-dir", "none"), "report: there is no study in none yet."),
    "unknown study": (("--study", "gone"), "report: there is no study 'gone' in results"),
    "seeds": (("--seeds", "0"), "report: --seeds is 0; it must be 1 or more."),
    "top": (("--top", "-1"), "report: --top is -1; it must be 1 or more."),
    "workers": (("--workers", "many"), "report: --workers is 'many'; it must be auto or"),
    "flag": (("--seed", "1"), "report: unrecognized arguments: --seed 1; see --help."),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(
    searched: Path, small_data_with_test: Path, case: str
) -> None:
    flags, line = BAD[case]
    ended = report(searched, small_data_with_test, *flags)
    assert ended.returncode == 2
    assert ended.stderr.startswith(line)
    assert ended.stderr.count("\n") == 1


def test_other_data_than_the_search_had_are_refused(searched: Path, tmp_path: Path) -> None:
    from tests.conftest import small_images, write_idx_data

    write_idx_data(tmp_path, *small_images(60, seed=5))
    ended = report(searched, tmp_path)
    assert ended.returncode == 2
    assert re.match(
        r"report: .* holds other data \(MD5 .*than the study was searched on", ended.stderr
    )


def test_missing_test_files_are_one_line_and_lose_nothing(searched: Path, small_data: Path) -> None:
    ended = report(searched, small_data, *SMALL, "--candidate-seeds", "1", "--seeds", "1")
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


def test_two_reports_of_one_study_do_not_meet(searched: Path, small_data_with_test: Path) -> None:
    from filelock import FileLock

    with FileLock(searched / "results" / "mlp" / "report.lock"):
        ended = report(searched, small_data_with_test)
    assert ended.returncode == 2
    assert "report: another process is reporting this study" in ended.stderr
