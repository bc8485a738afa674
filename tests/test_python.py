"""What docs/python.md promises to programs and notebooks, in real scripts and a real kernel."""

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import optuna
import pytest
from nbclient import NotebookClient
from optuna.trial import TrialState

import reporting
import search as search_room
from reporting import ReportSettings, compare_studies, run_report
from search import SearchSettings, load_study, run_search
from search.errors import SettingsError, StudyError
from search.study.storage import open_storage
from tests import LONGEST_SECONDS, free_port
from tests.command_line import FINISHED, ROOT, count, environment, set_signals, study, wait_until
from tests.search.harness import search
from tests.test_run_search import real_data

(EXAMPLE,) = re.findall(
    r"```python\n(.+?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL
)
SETTINGS = 'SearchSettings(study="first", space="mlp", trials={}, epochs=2, workers=1)'
QUIET = SETTINGS.replace("workers=1", "workers=1, quiet=True")
NOTEBOOK = ROOT / "docs" / "quick_start.ipynb"
# Shared by the interrupted script and the interrupted notebook: Ctrl-C after the first trial.
INTERRUPTING = """
import os, signal, threading, time
from pathlib import Path

def interrupt():
    journal = Path("results/first/study.journal")
    while not (journal.exists() and '"values":[' in journal.read_text()):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

before = signal.getsignal(signal.SIGINT)
threading.Thread(target=interrupt).start()
"""


def start_script(directory: Path, data: Path, code: str) -> subprocess.Popen[str]:
    (directory / "script.py").write_text(code)
    return subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=directory,
        env=environment(data) | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=set_signals,
    )


def run_script(directory: Path, data: Path, code: str) -> tuple[int, str, str]:
    script = start_script(directory, data, code)
    out, errors = script.communicate(timeout=LONGEST_SECONDS)
    return script.returncode, out, errors


def guarded(*lines: str) -> str:
    imports = "from search import SearchSettings, load_study, run_search\nimport signal\n"
    body = "\n".join(lines).replace("\n", "\n    ")
    return f'{imports}if __name__ == "__main__":\n    {body}\n'


def with_one_worker(code: str) -> str:
    """Code of the documentation, otherwise as it is: one worker starts in half the time of two."""
    for end in ("epochs=2)", "quick=True)"):
        code = code.replace(end, f"{end[:-1]}, workers=1)")
    return code.replace("val_size=500,", "val_size=500, workers=1,")


def test_the_script_of_the_page_searches_and_reports(
    tmp_path: Path, small_data_with_test: Path
) -> None:
    code, out, errors = run_script(tmp_path, small_data_with_test, with_one_worker(EXAMPLE))
    assert code == 0, errors
    first, *_, last = out.splitlines()
    value, params = first.split(maxsplit=1)
    recorded = study(tmp_path, "first")
    assert len(recorded.trials) == 4
    assert float(value) == recorded.best_value
    assert params.startswith("{'dense_layers': ")
    accuracy, page = last.split(maxsplit=1)
    assert 0 <= float(accuracy) <= 1
    assert page == "results/first/report-preview/report.html"
    assert (tmp_path / page).is_file()
    # Both can be repeated on a command line.
    command = recorded.user_attrs["command"]
    assert command.endswith(
        "run_search.py --trials 4 --epochs 2 --space mlp --workers 1 --study first"
    )
    assert "report.py --study first --workers 1 --quick" in (tmp_path / page).read_text()


def test_without_the_main_guard_the_script_says_what_to_do(
    tmp_path: Path, small_data: Path
) -> None:
    code, _, errors = run_script(
        tmp_path,
        small_data,
        f"from search import SearchSettings, run_search\nrun_search({SETTINGS.format(1)})",
    )
    assert code == 1
    assert 'Put the call under `if __name__ == "__main__":`' in errors
    assert errors.splitlines()[-1].startswith("search.errors.SearchError: workers die before")


def test_ctrl_c_stops_a_search_and_not_the_script_which_continues_it_in_another_thread(
    tmp_path: Path, small_data: Path
) -> None:
    port = free_port()
    settings = QUIET.replace("workers=1", f"workers=1, dashboard_port={port}")
    code, out, errors = run_script(
        tmp_path,
        small_data,
        guarded(
            INTERRUPTING,
            f"first = run_search({settings.format(50)})",
            "print(first.stopped_by.name, first.interrupted, first.finished)",
            "print(signal.getsignal(signal.SIGINT) is before)",
            "from concurrent.futures import ThreadPoolExecutor",  # no signals are handled there
            "with ThreadPoolExecutor() as pool:",
            # At the same port: the first search has given it back.
            f"    call = pool.submit(run_search, {settings.format('first.finished + 1')})",
            "    last = call.result()",
            "print(last.name, last.stopped_by, last.finished, len(last.study.trials), last.ran)",
        ),
    )
    assert code == 0, errors
    stopped_by, interrupted, finished, restored, *last = out.split()
    assert (stopped_by, interrupted, restored) == ("CTRL_C", "True", "True")
    total = str(int(finished) + 1)
    trials = str(len(study(tmp_path, "first").trials))
    assert last == ["first", "None", total, trials, "1"]
    assert count(tmp_path, "first", *FINISHED) == int(total) >= 2


def test_sigterm_stops_the_search_and_then_the_script(tmp_path: Path, small_data: Path) -> None:
    lines = (f"run_search({QUIET.format(50)})", "print('went on')")
    script = start_script(tmp_path, small_data, guarded(*lines))
    wait_until(lambda: count(tmp_path, "first", *FINISHED) >= 1)
    script.send_signal(signal.SIGTERM)
    out, errors = script.communicate(timeout=LONGEST_SECONDS)
    assert script.returncode == -signal.SIGTERM, errors
    assert out == ""
    # Stopped in order: a trial that was running is queued again.
    assert count(tmp_path, "first", TrialState.RUNNING) == 0


@pytest.mark.skipif(real_data() is None, reason="the real images are not on this machine")
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("FASHION_MNIST_DIR", str(real_data()))
    notebook = nbformat.read(NOTEBOOK, 4)
    for cell in notebook.cells:
        cell.source = with_one_worker(cell.source)
    kept = [cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
    assert kept == [], "clear the outputs before a commit"
    NotebookClient(notebook, timeout=LONGEST_SECONDS, resources=in_folder(tmp_path)).execute()
    assert (tmp_path / "results/quick-start/report-preview/report.html").is_file()
    assert len(study(tmp_path, "quick-start").trials) == 4
    search_cell = next(cell for cell in notebook.cells if "run_search(settings)" in cell.source)
    [totals, *_] = [one for one in search_cell.outputs if one.output_type == "display_data"]
    assert totals.data["text/plain"].startswith("4/4 trials, ")
    lines = "".join(one.text for one in search_cell.outputs if one.get("name") == "stdout")
    assert lines.count(": complete, val_accuracy") + lines.count(": pruned") == 4


def test_the_stop_button_of_a_notebook_keeps_the_trials_and_the_kernel(
    tmp_path: Path, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("FASHION_MNIST_DIR", str(small_data))
    cells = (
        "from search import SearchSettings, load_study, run_search",
        f"{INTERRUPTING}\noutcome = run_search({SETTINGS.format(19)})",
        "print(outcome.stopped_by.name, outcome.finished)",
        f"print(run_search({SETTINGS.format('outcome.finished + 1')}).stopped_by)",
    )
    notebook = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, cells)])
    NotebookClient(notebook, timeout=LONGEST_SECONDS, resources=in_folder(tmp_path)).execute()
    stopped_by, finished = notebook.cells[2].outputs[0].text.split()
    assert stopped_by == "CTRL_C"
    assert int(finished) >= 1
    printed = [one.text for one in notebook.cells[3].outputs if one.get("name") == "stdout"]
    assert printed[-1].splitlines()[-1] == "None"
    assert count(tmp_path, "first", *FINISHED) == int(finished) + 1


def in_folder(directory: Path) -> dict[str, Any]:
    return {"metadata": {"path": str(directory)}}


def test_importing_a_room_imports_nothing_heavy() -> None:
    code = "import reporting, search, sys; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert {"optuna", "numpy", "rich", "search.api"}.isdisjoint(ran.stdout.split())


@pytest.mark.parametrize("room", [search_room, reporting])
def test_a_room_offers_its_public_names_and_no_others(room: Any) -> None:
    for name in room.__all__:
        assert getattr(room, name).__name__ == name
    with pytest.raises(AttributeError, match=f"module '{room.__name__}' has no attribute 'run_it'"):
        _ = room.run_it


@pytest.mark.parametrize(
    "field",
    ["stop", "pause", "resume", "print_config", "dashboard_only", "dry_run", "json"],
)
def test_what_only_the_command_does_is_refused(field: str) -> None:
    flag = field.replace("_", "-")
    with pytest.raises(SettingsError, match=f"{field} is True, .* run_search.py --{flag}"):
        run_search(SearchSettings(**{field: True}))


def test_a_file_of_flags_and_a_configuration_to_enqueue_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"^enqueue is '\{\}', but run_search only searches; "):
        run_search(SearchSettings(enqueue="{}"))
    with pytest.raises(SettingsError, match=r"^config is PosixPath\('a.toml'\), but .* --config\."):
        run_search(SearchSettings(config=Path("a.toml")))


def test_a_comparison_is_no_report() -> None:
    with pytest.raises(SettingsError, match="--compare makes no report; call compare_studies"):
        run_report(ReportSettings(compare=("a", "b")))


@pytest.mark.parametrize("names", [(), ("one",)])
def test_a_comparison_needs_two_studies(names: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="compare_studies needs the names of two studies or"):
        compare_studies(*names)


def test_settings_take_a_folder_as_text() -> None:
    assert SearchSettings(results_dir="here").results_dir == Path("here")
    assert ReportSettings(results_dir="here").results_dir == Path("here")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("results")
    (directory / "test").mkdir()
    search(directory / "test", space="conditional", trials=2, pruner="none")
    return directory


def test_a_study_is_loaded_by_its_name(results: Path) -> None:
    for where in (results, str(results)):
        loaded = load_study("test", where)
        assert isinstance(loaded, optuna.Study)
        assert [trial.state for trial in loaded.trials] == [TrialState.COMPLETE] * 2


def test_a_study_is_loaded_from_a_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/studies.db"
    with pytest.raises(StudyError, match=r"studies\.db has no study 'kept'; it holds none\."):
        load_study("kept", tmp_path, storage=url)
    assert not (tmp_path / "studies.db").exists()
    optuna.create_study(study_name="kept", storage=url)
    assert load_study("kept", tmp_path, storage=url).study_name == "kept"


def test_a_study_that_cannot_be_loaded_is_one_line(results: Path) -> None:
    with pytest.raises(StudyError, match=r"has no study 'tset'; .* Did you mean 'test'\?"):
        load_study("tset", results)
    with pytest.raises(SettingsError, match="cannot name a folder"):
        load_study("../test", results)
    (results / "renamed").mkdir()
    journal = results / "renamed" / "study.journal"
    journal.touch()
    with pytest.raises(StudyError, match=r"renamed/study\.journal holds no study\. Run"):
        load_study("renamed", results)
    optuna.create_study(study_name="other", storage=open_storage(journal, None))
    with pytest.raises(StudyError, match="holds study 'other', not 'renamed'"):
        load_study("renamed", results)
