"""The dashboard of all studies of a results folder: real journals, over real HTTP."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from optuna_dashboard import save_note

from search.errors import StudyError
from search.study.artifacts import Artifacts
from search.study.dashboard import listen, serve_dashboard
from search.study.journals import Journals
from search.study.storage import open_storage
from tests import LONGEST_SECONDS
from tests.search.study.test_dashboard import ROOT, request

UNIFORM = optuna.distributions.FloatDistribution(0, 1)


def make_study(results: Path, folder: str, trials: int = 3, name: str | None = None) -> Any:
    """Write a study whose trials have values, notes and files that name the folder."""
    (results / folder).mkdir(parents=True)
    storage = open_storage((results / folder / "study.journal").resolve(), None)
    study = optuna.create_study(study_name=name or folder, storage=storage, direction="maximize")
    artifacts = Artifacts(results / folder / "artifacts")
    save_note(study, f"study {folder}")
    for number in range(trials):
        trial = study.ask({"x": UNIFORM})
        save_note(trial, f"{folder} trial {number}")
        artifacts.add(trial, "file.txt", f"{folder} {number}".encode())
        trial.report(0.5, 1)
        study.tell(trial, number / 10 + len(folder) / 1000)
    return study


class Dashboard:
    """The dashboard of a results folder, and the lines that it says."""

    def __init__(self, results: Path) -> None:
        self.lines: list[str] = []
        self.storage = Journals(results, self.lines.append)
        self.address = serve_dashboard(results / "any", None, listen(), storage=self.storage)

    def get(self, path: str) -> Any:
        status, _, answer = request(f"{self.address}api/{path}")
        return json.loads(answer) if status == 200 else status

    def studies(self) -> dict[str, int]:
        return {
            one["study_name"]: one["study_id"] for one in self.get("studies")["study_summaries"]
        }


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    for name in ("a", "bb", "ccc"):
        make_study(folder, name)
    return folder


def test_all_studies_are_shown_each_with_its_own_trials_notes_and_files(results: Path) -> None:
    shown = Dashboard(results)
    studies = shown.studies()
    assert list(studies) == ["a", "bb", "ccc"]
    assert len(set(studies.values())) == 3
    for name, number in studies.items():
        detail = shown.get(f"studies/{number}?after=0")
        assert detail["name"] == name
        assert detail["note"]["body"] == f"study {name}"
        assert [trial["number"] for trial in detail["trials"]] == [0, 1, 2]
        assert [trial["values"][0] for trial in detail["trials"]] == [
            step / 10 + len(name) / 1000 for step in range(3)
        ]
        for trial in detail["trials"]:
            assert trial["note"]["body"] == f"{name} trial {trial['number']}"
            [artifact] = trial["artifacts"]
            path = f"artifacts/{number}/{trial['trial_id']}/{artifact['artifact_id']}"
            answer = request(f"{shown.address}{path}")[2]
            assert answer.decode() == f"{name} {trial['number']}"
        assert detail["best_trials"][0]["number"] == 2
        assert shown.get(f"studies/{number}/param_importances")["param_importances"]
    assert shown.lines == []


def test_it_is_live_for_new_trials_new_studies_and_removed_ones(results: Path) -> None:
    shown = Dashboard(results)
    before = shown.studies()
    assert len(shown.storage.get_all_trials(before["bb"])) == 3
    storage = open_storage((results / "bb" / "study.journal").resolve(), None)
    study = optuna.load_study(study_name="bb", storage=storage)
    running = study.ask()
    trials = shown.storage.get_all_trials(before["bb"])
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3 + [TrialState.RUNNING]
    study.tell(running, 0.9)
    assert shown.storage.get_best_trial(before["bb"]).number == 3
    assert shown.storage.get_all_trials(before["bb"], states=(TrialState.RUNNING,)) == []
    make_study(results, "0")
    shutil.rmtree(results / "a")
    after = shown.studies()
    assert list(after) == ["bb", "ccc", "0"]
    assert after["bb"] == before["bb"]
    assert before["a"] not in after.values()
    assert shown.get(f"studies/{before['a']}?after=0") == 404
    # Another study in the place of an old one is not taken for it. The old one is kept: the new
    # journal could get the number of a file that was removed.
    (results / "ccc").rename(results.parent / "ccc")
    make_study(results, "ccc", trials=1)
    assert shown.studies()["ccc"] != before["ccc"]
    assert len(shown.storage.get_all_trials(shown.studies()["ccc"])) == 1


def test_a_renamed_study_is_shown_under_both_names(results: Path) -> None:
    shutil.copytree(results / "a", results / "copy of a")
    shown = Dashboard(results)
    assert set(shown.studies()) == {"a", "bb", "ccc", "copy of a/a"}
    detail = shown.get(f"studies/{shown.studies()['copy of a/a']}?after=0")
    assert [trial["note"]["body"] for trial in detail["trials"]] == [
        f"a trial {number}" for number in range(3)
    ]


def test_damaged_studies_are_left_out_with_a_line_each(results: Path, tmp_path: Path) -> None:
    journal = results / "a" / "study.journal"
    journal.write_text("no journal\n" + journal.read_text())
    damaged = optuna.load_study(
        study_name="bb", storage=open_storage((results / "bb" / "study.journal").resolve(), None)
    )
    damaged.set_user_attr("epochs", "many")
    make_study(results, "linked")
    (results / "linked" / "artifacts" / "out").symlink_to(tmp_path)
    (results / "new").mkdir()
    (results / "new" / "study.journal").touch()  # a search that begins
    shown = Dashboard(results)
    for _ in range(2):
        assert list(shown.studies()) == ["ccc"]
    assert len(shown.lines) == 3
    said = "\n".join(sorted(shown.lines))
    assert re.search(r"left out: .*a/study\.journal cannot be read", said)
    assert "left out: study 'bb' cannot be used: its 'epochs' is 'many'" in said
    assert re.search(r"left out: .*linked/artifacts/out is a symbolic link", said)
    damaged.set_user_attr("epochs", 9)  # it was only looked at too early
    assert sorted(shown.studies()) == ["bb", "ccc"]


def test_a_study_that_cannot_be_read_any_more_hides_no_other(results: Path) -> None:
    shown = Dashboard(results)
    assert len(shown.studies()) == 3
    with (results / "bb" / "study.journal").open("a") as file:
        file.write("damage\n" * 2)
    assert list(shown.studies()) == ["a", "ccc"]


def test_it_is_read_only(results: Path) -> None:
    shown = Dashboard(results)
    number = shown.studies()["bb"]
    before = (results / "bb" / "study.journal").read_bytes()
    study = optuna.load_study(study_name="bb", storage=shown.storage)
    trial = create_trial(value=1.0)
    for change in (
        lambda: study.add_trial(trial),
        lambda: study.set_user_attr("a", 1),
        lambda: optuna.delete_study(study_name="bb", storage=shown.storage),
        lambda: optuna.create_study(study_name="new", storage=shown.storage),
        lambda: shown.storage.set_trial_user_attr(number, "a", 1),
    ):
        with pytest.raises(PermissionError, match="read-only"):
            change()
    assert request(f"{shown.address}api/studies/{number}", "DELETE")[0] == 405
    assert (results / "bb" / "study.journal").read_bytes() == before


def test_what_is_not_there_is_a_key_error(results: Path) -> None:
    storage = Journals(results, print)
    with pytest.raises(KeyError):
        storage.get_study_id_from_name("dd")
    with pytest.raises(KeyError):
        storage.get_trial(5 * 10**9)


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_a_folder_without_studies_is_one_line(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyError, match=rf"{folder} holds no study to show; run a search first"):
        Journals(tmp_path / folder, print).require_studies()


def test_the_command_shows_all_studies_until_it_is_stopped(results: Path) -> None:
    journal = results / "bb" / "study.journal"
    journal.write_text("no journal\n" + journal.read_text())
    served = subprocess.Popen(
        [sys.executable, str(ROOT / "run_search.py"), "--dashboard-only"],
        cwd=results.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert served.stdout is not None
    shown = re.fullmatch(r"dashboard: (\S+) \(read-only; .*\)\n", served.stdout.readline())
    assert shown is not None
    names = [
        one["study_name"]
        for one in json.loads(request(f"{shown[1]}api/studies")[2])["study_summaries"]
    ]
    assert names == ["a", "ccc"]
    served.send_signal(signal.SIGINT)
    rest, errors = served.communicate(timeout=LONGEST_SECONDS)
    assert (served.returncode, rest) == (0, "")
    assert re.fullmatch(r"run_search: left out: .*bb/study\.journal cannot be read.*\n", errors)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "run_search: .*/results holds no study to show; run a search first, or give --res"),
        (["--dashboard-writable"], "run_search: --dashboard-writable needs --study: all studies"),
    ],
)
def test_an_error_of_the_command_is_one_line(
    tmp_path: Path, flags: list[str], message: str
) -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "run_search.py"), "--dashboard-only", *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
    )
    assert ran.returncode == 2
    assert re.match(message, ran.stderr), ran.stderr
    assert ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
