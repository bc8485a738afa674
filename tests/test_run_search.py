"""The command, as a person runs it: real training of small nets, real kills, real errors."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState

from search.data import find_data
from search.errors import DataError
from tests.command_line import (
    FINISHED,
    QUICK,
    ROOT,
    children,
    command,
    count,
    environment,
    run,
    start,
    study,
    wait_until,
)


def real_data() -> Path | None:
    try:
        return find_data(None)
    except DataError:
        return None


def test_a_search_ends_with_its_trials_and_says_so_in_json(
    tmp_path: Path, small_data: Path
) -> None:
    flags = (*QUICK, "--trials", "3", "--workers", "1", "--seed", "0", "--json")
    first = run(tmp_path, small_data, *flags)
    assert first.returncode == 0, first.stderr
    said = json.loads(first.stdout.splitlines()[-1])
    assert said["study"] == "mlp"
    assert said["finished"] == said["complete"] + said["pruned"] == 3
    assert said["failed"] == 0
    assert set(said["best"]) >= {"number", "value", "params"}
    assert said["best"]["value"] > 0.2
    assert said["seconds"] > 0
    assert Path(said["storage"]) == tmp_path / "results" / "mlp" / "study.journal"
    assert "optuna-dashboard" in first.stderr
    assert "3/3 trials" in first.stderr
    before = study(tmp_path, "mlp").trials

    again = run(tmp_path, small_data, *flags)
    assert again.returncode == 0
    assert json.loads(again.stdout.splitlines()[-1])["finished"] == 3
    assert study(tmp_path, "mlp").trials == before

    (tmp_path / "elsewhere").mkdir()
    run(tmp_path / "elsewhere", small_data, *flags)
    repeated = study(tmp_path / "elsewhere", "mlp").trials
    assert [trial.params for trial in repeated] == [trial.params for trial in before]
    assert [trial.intermediate_values for trial in repeated] == [
        trial.intermediate_values for trial in before
    ]


def test_the_study_records_where_its_numbers_come_from(tmp_path: Path, small_data: Path) -> None:
    assert run(tmp_path, small_data, *QUICK, "--trials", "1").returncode == 0
    recorded = study(tmp_path, "mlp")
    attrs = recorded.user_attrs
    assert attrs["seed"] == 0
    assert attrs["space"] == "mlp"
    assert attrs["versions"]["optuna"]
    assert "100 validation images" in attrs["split"]
    assert "--trials 1" in attrs["command"]
    trial = recorded.trials[0]
    assert trial.user_attrs["baseline"] == "mlp"
    assert trial.user_attrs["parameters"] == 101_770
    assert list(trial.intermediate_values) == [1, 2]


@pytest.mark.skipif(real_data() is None, reason="the real images are not on this machine")
def test_the_published_cnn_learns_from_real_images_without_the_test_files(tmp_path: Path) -> None:
    data = tmp_path / "train-only"
    data.mkdir()
    source = real_data()
    assert source is not None
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        (data / name).symlink_to(source / name)
    flags = ("--trials", "1", "--epochs", "2", "--train-size", "4000", "--val-size", "1000")
    ran = run(tmp_path, data, *flags, "--json")
    assert ran.returncode == 0, ran.stderr
    best = json.loads(ran.stdout.splitlines()[-1])["best"]
    assert best["baseline"] == "bn-cnn"
    assert best["parameters"] == 954_752
    assert best["value"] > 0.7


def test_a_killed_coordinator_leaves_no_process_and_loses_no_trial(
    tmp_path: Path, small_data: Path
) -> None:
    flags = (*QUICK, "--trials", "6", "--workers", "2", "--epochs", "3")
    for finished in (1, 3):
        search = start(tmp_path, small_data, *flags)
        wait_until(
            lambda n=finished: (
                count(tmp_path, "mlp", *FINISHED) >= n
                and count(tmp_path, "mlp", TrialState.RUNNING) > 0
            )
        )
        workers = children(search.pid)
        assert workers
        search.kill()
        search.communicate()
        wait_until(lambda pids=workers: not any(map(psutil.pid_exists, pids)), seconds=30)
    ended = run(tmp_path, small_data, *flags, "--json")
    assert ended.returncode == 0, ended.stderr
    recorded = study(tmp_path, "mlp")
    assert len(recorded.get_trials(states=FINISHED)) == len(recorded.trials) == 6


def test_killed_workers_cost_no_trial(tmp_path: Path, small_data: Path) -> None:
    search = start(tmp_path, small_data, *QUICK, "--trials", "4", "--workers", "2")
    for finished in (1, 2):
        wait_until(
            lambda n=finished: (
                count(tmp_path, "mlp", *FINISHED) >= n
                and count(tmp_path, "mlp", TrialState.RUNNING) > 0
            )
        )
        os.kill(children(search.pid)[0], signal.SIGKILL)
    _, errors = search.communicate(timeout=240)
    assert search.returncode == 0, errors
    recorded = study(tmp_path, "mlp")
    assert len(recorded.get_trials(states=FINISHED)) == len(recorded.trials) == 4


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_stops_cleanly_and_says_how_to_go_on(
    tmp_path: Path, small_data: Path, number: signal.Signals, code: int
) -> None:
    flags = (*QUICK, "--trials", "50", "--workers", "2")
    search = start(tmp_path, small_data, *flags)
    wait_until(lambda: count(tmp_path, "mlp", *FINISHED) >= 1)
    for _ in range(3):  # as an impatient person does; to the workers as well, as a terminal does
        os.killpg(search.pid, number)
        time.sleep(0.02)
    output, errors = search.communicate(timeout=30)
    assert search.returncode == code, errors
    assert f"continue: python run_search.py {' '.join(flags)}" in output
    assert "Traceback" not in errors
    assert count(tmp_path, "mlp", TrialState.RUNNING) == 0
    assert not count(tmp_path, "mlp", TrialState.FAIL)
    assert not any("attempts" in trial.user_attrs for trial in study(tmp_path, "mlp").trials)


def test_a_second_coordinator_is_refused(tmp_path: Path, small_data: Path) -> None:
    search = start(tmp_path, small_data, *QUICK, "--trials", "50")
    wait_until(lambda: count(tmp_path, "mlp", TrialState.RUNNING) > 0)
    second = run(tmp_path, small_data, *QUICK, "--trials", "50")
    assert second.returncode == 2
    assert "study 'mlp' is being searched by another process" in second.stderr
    search.send_signal(signal.SIGINT)
    search.communicate(timeout=30)
    assert search.returncode == 130


def test_the_coordinator_never_loads_tensorflow(tmp_path: Path, small_data: Path) -> None:
    search = start(tmp_path, small_data, *QUICK, "--trials", "50", "--dashboard")
    wait_until(lambda: count(tmp_path, "mlp", *FINISHED) >= 1)
    maps = Path(f"/proc/{search.pid}/maps").read_text()
    assert "python" in maps
    assert "tensorflow" not in maps
    search.send_signal(signal.SIGINT)
    search.communicate(timeout=30)


def test_the_dashboard_shows_trials_while_they_run_and_changes_nothing(
    tmp_path: Path, small_data: Path
) -> None:
    flags = (*QUICK, "--trials", "50", "--epochs", "50", "--workers", "1", "--pruner", "none")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    search = start(tmp_path, small_data, *flags, "--dashboard-port", str(port))
    address = f"http://127.0.0.1:{port}"

    def trials() -> list[dict[str, object]]:
        try:
            with urllib.request.urlopen(f"{address}/api/studies/0?after=0", timeout=10) as answer:
                return json.load(answer)["trials"]
        except OSError:
            return []

    wait_until(
        lambda: any(
            trial["state"] == "Running" and trial["intermediate_values"] for trial in trials()
        )
    )
    request = urllib.request.Request(f"{address}/api/studies/0", method="DELETE")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code == 405
    assert b"--dashboard-writable" in refused.value.read()
    search.send_signal(signal.SIGINT)
    search.communicate(timeout=30)
    assert count(tmp_path, "mlp", TrialState.RUNNING) == 0


def test_a_hypermodel_of_keras_tuner_runs_with_its_own_compile(
    tmp_path: Path, small_data: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        """
import keras
import keras_tuner


class Mine(keras_tuner.HyperModel):
    def build(self, hp):
        model = keras.Sequential([keras.layers.Flatten()])
        for i in range(hp.Int("layers", 1, 2)):
            model.add(keras.layers.Dense(hp.Int(f"units_{i}", 8, 32, step=8), "relu"))
        model.add(keras.layers.Dense(10, "softmax"))
        model.compile(
            keras.optimizers.RMSprop(hp.Float("rate", 1e-3, 1e-1, step=10, sampling="log")),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model
"""
    )
    flags = ("--space", "mine:Mine", "--trials", "3", "--epochs", "2", "--val-size", "100")
    ran = run(tmp_path, small_data, *flags)
    assert ran.returncode == 0, ran.stderr
    for trial in study(tmp_path, "mine.Mine").trials:
        assert trial.params["rate"] in (1e-3, 1e-2, 1e-1)
        units = {name for name in trial.params if name.startswith("units_")}
        assert units == {f"units_{i}" for i in range(trial.params["layers"])}


def test_every_trial_computes_in_the_precision_asked_for(tmp_path: Path, small_data: Path) -> None:
    (tmp_path / "mine.py").write_text(
        """
import keras


class Mine:
    def build(self, hp):
        hp.Fixed("policy", keras.config.dtype_policy().name)
        units = hp.Int("units", 8, 64)
        return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(units, "relu"),
                                 keras.layers.Dense(10)])
"""
    )
    flags = ("--space", "mine:Mine", "--trials", "2", "--epochs", "1", "--val-size", "100")
    ran = run(tmp_path, small_data, *flags, "--precision", "bfloat16", "--workers", "1")
    assert ran.returncode == 0, ran.stderr
    policies = [
        trial.user_attrs["fixed"]["policy"] for trial in study(tmp_path, "mine.Mine").trials
    ]
    assert policies == ["mixed_bfloat16"] * 2


def test_a_space_whose_build_raises_is_shown_and_ends_the_search(
    tmp_path: Path, small_data: Path
) -> None:
    (tmp_path / "broken.py").write_text(
        "class Broken:\n    def build(self, hp):\n        return hp.Int('x', 1, 99) + missing\n"
    )
    flags = ("--space", "broken:Broken", "--trials", "3", "--val-size", "100")
    ran = run(tmp_path, small_data, *flags, "--max-failures", "2", "--workers", "1")
    assert ran.returncode == 2
    assert "2 trials failed in a row, the last: NameError: name 'missing'" in ran.stderr
    assert 'File "' in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("run_search: ")
    for trial in study(tmp_path, "broken.Broken").trials:
        assert trial.state == TrialState.FAIL
        assert "return hp.Int('x', 1, 99) + missing" in trial.user_attrs["traceback"]


def test_a_space_whose_every_configuration_fails_ends_in_an_error(
    tmp_path: Path, small_data: Path
) -> None:
    (tmp_path / "empty.py").write_text(
        "class Empty:\n    def build(self, hp):\n        hp.Boolean('x')\n"
    )
    flags = ("--space", "empty:Empty", "--trials", "9", "--val-size", "100", "--workers", "1")
    ran = run(tmp_path, small_data, *flags, "--max-failures", "3")
    assert ran.returncode == 2
    message = "TypeError: build(hp) returned NoneType; return a keras.Model"
    assert message in ran.stderr.splitlines()[-1]


def test_an_outcome_that_cannot_be_printed_is_one_line(tmp_path: Path, small_data: Path) -> None:
    with open("/dev/full", "w") as full:
        ran = subprocess.run(
            command(*QUICK, "--trials", "1", "--json", "--quiet"),
            cwd=tmp_path,
            env=environment(small_data),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=240,
        )
    assert ran.returncode == 2
    assert ran.stderr.startswith("run_search: [Errno 28] No space left on device")
    assert "Traceback" not in ran.stderr


ERRORS = {
    "unknown space": (["--space", "cn"], "Did you mean 'cnn'?"),
    "unknown sampler": (["--sampler", "tpo"], "--sampler 'tpo' is unknown; use one of tpe,"),
    "unknown pruner": (["--pruner", "hyper"], "Did you mean 'hyperband'?"),
    "no trials": (["--trials", "0"], "--trials is 0; it must be above 0."),
    "workers in words": (["--workers", "two"], "--workers is 'two'; it must be auto or a whole"),
    "unwritable results": (["--results-dir", "/dev/null/x"], "cannot be written"),
    "missing data": (["--data-dir", "nowhere"], "nowhere has no train-images-idx3-ubyte.gz"),
    "words for numbers": (["--trials", "abc"], "argument --trials: invalid int value: 'abc'; see"),
    "no such module": (["--space", "nothing:Here"], "cannot import module 'nothing'"),
    "too much validation": (["--val-size", "99999"], "val_size"),
    "unreachable database": (
        ["--storage", "sqlite:////dev/null/x.db"],
        "--storage sqlite:////dev/null/x.db cannot be opened",
    ),
    "port out of range": (["--dashboard-port", "99999"], "--dashboard-port 99999 cannot be used"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, small_data: Path, case: str) -> None:
    flags, message = ERRORS[case]
    ran = run(tmp_path, small_data, "--val-size", "100", *flags)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stderr.splitlines()[-1].startswith("run_search: ")


def test_a_port_in_use_is_refused(tmp_path: Path, small_data: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = run(tmp_path, small_data, *QUICK, "--trials", "1", "--dashboard-port", port)
    assert ran.returncode == 2
    assert f"--dashboard-port {port} cannot be used (Address already in use)" in ran.stderr


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_damaged_data_is_named_with_the_md5_it_should_have(
    tmp_path: Path, small_data: Path, damage: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for file in small_data.iterdir():
        (data / file.name).write_bytes(file.read_bytes())
    images = data / "train-images-idx3-ubyte.gz"
    content = images.read_bytes()
    images.write_bytes(content[:1000] if damage == "truncated" else content[:-1] + b"x")
    expected = (small_data / "MD5SUMS").read_text().split()[0]
    ran = run(tmp_path, data, *QUICK, "--trials", "1")
    assert ran.returncode == 2
    assert str(images) in ran.stderr
    assert expected in ran.stderr


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--space", "cnn", "--study", "mlp"], "space 'mlp'; this run asks for 'cnn'"),
        (["--epochs", "3"], "epochs 2; this run asks for 3"),
        (["--precision", "bfloat16"], "precision 'float32'; this run asks for 'bfloat16'"),
        (["--val-size", "90"], "split"),
    ],
)
def test_a_study_that_cannot_be_compared_is_refused_and_unharmed(
    tmp_path: Path, small_data: Path, flags: list[str], names: str
) -> None:
    begin = (*QUICK, "--precision", "float32", "--trials", "1")
    assert run(tmp_path, small_data, *begin).returncode == 0
    before = study(tmp_path, "mlp").trials
    ran = run(tmp_path, small_data, *begin, *flags)
    assert ran.returncode == 2
    assert names in ran.stderr
    assert "--study NAME" in ran.stderr
    assert study(tmp_path, "mlp").trials == before


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path, small_data: Path) -> None:
    flags = (*QUICK, "--workers", "1")
    assert run(tmp_path, small_data, *flags, "--trials", "1").returncode == 0
    size = (tmp_path / "results" / "mlp" / "study.journal").stat().st_size
    # A limit on the size of files fails a write as a full disk does.
    full = subprocess.run(
        command(*flags, "--trials", "3"),
        cwd=tmp_path,
        env=environment(small_data),
        capture_output=True,
        text=True,
        timeout=240,
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (size + 1500, resource.RLIM_INFINITY)
        ),
    )
    assert full.returncode == 2
    assert "cannot be read or written: [Errno 27] File too large" in full.stderr
    assert "Traceback" not in full.stderr
    ended = run(tmp_path, small_data, *flags, "--trials", "3", "--json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["finished"] == 3


@pytest.mark.parametrize("content", ["garbage\n", "this is no journal\nnor this\n"])
def test_an_unreadable_journal_is_one_line(tmp_path: Path, small_data: Path, content: str) -> None:
    folder = tmp_path / "results" / "mlp"
    folder.mkdir(parents=True)
    (folder / "study.journal").write_text(content)
    ran = run(tmp_path, small_data, *QUICK, "--trials", "1")
    assert ran.returncode == 2
    assert "study.journal cannot be read as a journal (JSONDecodeError" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert (folder / "study.journal").read_text().startswith(content)


def test_help_is_complete_and_loads_nothing_heavy() -> None:
    script = (
        "import sys, runpy\n"
        "sys.argv = ['run_search.py', '--help']\n"
        "try: runpy.run_path('run_search.py', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'optuna', 'numpy', 'rich'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "heavy: []" in ran.stdout
    readme = (ROOT / "README.md").read_text()
    flags = {word.strip(",.") for word in ran.stdout.split() if word.startswith("--")}
    assert len(flags) > 25
    assert not [flag for flag in flags if f"`{flag}" not in readme and f" {flag}" not in readme]
