"""The search command on a real cluster of two nodes on loopback, with real trainings."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from optuna.trial import TrialState

from tests import LONGEST_SECONDS
from tests.command_line import (
    FINISHED,
    QUICK,
    ROOT,
    count,
    environment,
    run,
    start,
    study,
    wait_until,
)
from tests.search.workers.ray.nodes import TestCluster, shared_cluster

pytestmark = pytest.mark.xdist_group("cluster")

OWN_SPACE = """
import keras
from my_layers import head

class MyModel:
    def build(self, hp):
        inputs = keras.Input((28, 28, 1))
        x = keras.layers.Flatten()(inputs)
        x = keras.layers.Dense(hp.Int("units", 4, 32), activation="relu")(x)
        return keras.Model(inputs, head(x))
"""
LAYERS = """
import keras

def head(x):
    return keras.layers.Dense(10)(x)
"""


@pytest.fixture
def cluster() -> TestCluster:
    return shared_cluster()


def test_a_killed_coordinator_loses_no_trial_and_leaves_no_actor(
    tmp_path: Path, small_data: Path, cluster: TestCluster
) -> None:
    flags = (*QUICK, "--trials", "5", "--epochs", "3", "--cluster", cluster.address)
    search = start(tmp_path, small_data, *flags)
    wait_until(
        lambda: (
            count(tmp_path, "mlp", *FINISHED) >= 1
            and count(tmp_path, "mlp", TrialState.RUNNING) > 0
        )
    )
    assert cluster.node.workers()
    search.kill()
    search.communicate()
    wait_until(lambda: not cluster.node.workers() and not cluster.head.workers())
    ended = run(tmp_path, small_data, *flags, "--json")
    assert ended.returncode == 0, ended.stderr
    recorded = study(tmp_path, "mlp")
    assert len(recorded.get_trials(states=FINISHED)) == len(recorded.trials) == 5


def test_ctrl_c_stops_cleanly(tmp_path: Path, small_data: Path, cluster: TestCluster) -> None:
    flags = (*QUICK, "--trials", "19", "--cluster", cluster.address, "--workers", "2")
    search = start(tmp_path, small_data, *flags)
    wait_until(lambda: count(tmp_path, "mlp", *FINISHED) >= 1)
    search.send_signal(signal.SIGINT)
    output, errors = search.communicate(timeout=LONGEST_SECONDS)
    assert search.returncode == 130, errors
    assert f"continue: python {ROOT}/run_search.py {' '.join(flags)}" in output
    assert "Traceback" not in errors
    assert count(tmp_path, "mlp", TrialState.RUNNING) == 0
    wait_until(lambda: not cluster.node.workers() and not cluster.head.workers())


def test_a_space_of_ones_own_travels_with_what_lies_beside_it(
    tmp_path: Path, small_data: Path, cluster: TestCluster
) -> None:
    (tmp_path / "my_space.py").write_text(OWN_SPACE)
    (tmp_path / "my_layers.py").write_text(LAYERS)
    (tmp_path / "queue.py").write_text("raise ImportError('in place of the standard library')")
    flags = ("--space", "my_space:MyModel", "--trials", "2", "--epochs", "1", "--val-size", "100")
    ended = run(tmp_path, small_data, *flags, "--cluster", cluster.address, "--workers", "1")
    assert ended.returncode == 0, ended.stderr
    assert "2 of 2 trials finished" in ended.stdout


def test_a_lost_head_ends_the_search_with_one_line(tmp_path: Path, small_data: Path) -> None:
    cluster = TestCluster(head_cpus=0)  # trials run on nodes only, as the launchers have it
    try:
        search = start(tmp_path, small_data, *QUICK, "--trials", "19", "--cluster", cluster.address)
        wait_until(lambda: count(tmp_path, "mlp", *FINISHED) >= 1)
        cluster.head.kill()
        _, errors = search.communicate(timeout=LONGEST_SECONDS)
    finally:
        cluster.close()
    assert search.returncode == 2, errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == (
        "run_search: the cluster's head is gone. No finished trial is lost: start the cluster, "
        "then run the same command again."
    )


def test_without_ray_it_says_what_to_install(tmp_path: Path, small_data: Path) -> None:
    script = (
        "import sys; sys.modules['ray'] = None; import run_search; "
        "sys.exit(run_search.main(['--cluster', 'auto', '--space', 'mlp', '--val-size', '100']))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent.parent,
        env=environment(small_data),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert ran.stderr == (
        "run_search: --cluster auto needs Ray, which is not installed; "
        "pip install -r requirements-distributed.txt\n"
    )
