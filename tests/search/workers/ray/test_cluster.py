"""A search on a real cluster of two nodes on loopback, whatever happens to it."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from search.errors import ClusterError
from search.settings import SearchSettings
from search.study.study import FINISHED
from search.workers.ray.cluster import Resources, connect
from search.workers.ray.code import collect_code
from spaces import SpaceError
from tests import LONGEST_SECONDS
from tests.search.harness import RecordingDisplay, load, search, workers_at
from tests.search.workers.ray.nodes import Node, TestCluster, shared_cluster

pytestmark = pytest.mark.xdist_group("cluster")


@pytest.fixture
def cluster() -> TestCluster:
    return shared_cluster()


@pytest.fixture
def third(cluster: TestCluster) -> Iterator[Node]:
    """A node that a test may do anything with."""
    with joined(cluster, 3) as node:
        yield node


@contextmanager
def joined(cluster: TestCluster, cpus: int, **environment: str) -> Iterator[Node]:
    """Another node, as long as it is needed."""
    node = cluster.add_node(cpus, **environment)
    try:
        yield node
    finally:
        node.signal(signal.SIGCONT)
        node.kill()


def finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(states=FINISHED)


def during(action: Callable[[], bool], every_seconds: float = 0.2) -> threading.Thread:
    """Try an action again and again beside a search, until it says that it has been done."""

    def repeat() -> None:
        end = time.monotonic() + LONGEST_SECONDS
        while not action() and time.monotonic() < end:
            time.sleep(every_seconds)

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    return thread


def running(directory: Path) -> int:
    """Trials that run now."""
    try:
        return len(load(directory).get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    except (KeyError, ValueError):
        return 0


def test_killed_actors_cost_no_trial(tmp_path: Path, cluster: TestCluster) -> None:
    def kill_actors() -> bool:
        actors = [*cluster.node.workers(), *cluster.head.workers()]
        if running(tmp_path) < 3:
            return False
        for actor in actors:
            with suppress(psutil.NoSuchProcess):  # has ended since
                actor.kill()
        return bool(actors)

    killing = during(kill_actors)
    study, reason = search(
        tmp_path, space="slow", algorithm="random@cluster", trials=18, workers=3, pruner="none"
    )
    killing.join()
    assert reason is None
    assert len(finished(study)) == len(study.trials) == 18
    assert set(attempts(study)) == {"worker died (process lost)"}


def test_a_lost_node_costs_no_trial(tmp_path: Path, third: Node) -> None:
    def kill_node() -> bool:
        if running(tmp_path) <= 3:  # so many may run on the other nodes
            return False
        third.kill()
        return True

    killing = during(kill_node)
    study, reason = search(
        tmp_path, space="slow", algorithm="random@cluster", trials=18, pruner="none", workers=6
    )
    killing.join()
    assert reason is None
    assert len(finished(study)) == len(study.trials) == 18
    assert set(attempts(study)) <= {"worker died (node lost)", "worker died (process lost)"}
    assert attempts(study)


def test_a_frozen_node_costs_no_trial(tmp_path: Path, third: Node) -> None:
    def freeze() -> bool:
        if running(tmp_path) <= 3:
            return False
        third.signal(signal.SIGSTOP)
        return True

    freezing = during(freeze)
    study, reason = search(
        tmp_path,
        space="slow",
        algorithm="random@cluster",
        trials=18,
        pruner="none",
        workers=6,
        silence_seconds=6,
    )
    freezing.join()
    assert reason is None
    assert len(finished(study)) == len(study.trials) == 18
    assert attempts(study)
    assert all(attempt.startswith("worker silent for") for attempt in attempts(study))


def attempts(study: optuna.Study) -> list[str]:
    """Why trials had to be run again."""
    return [reason for trial in study.trials for reason in trial.user_attrs.get("attempts", [])]


def test_nodes_that_join_are_used(tmp_path: Path, cluster: TestCluster) -> None:
    settings = SearchSettings(study="test", trials=9)
    end = time.monotonic() + 300
    with workers_at("cluster", settings, tmp_path, "slow", 60) as workers:
        while workers.count != 3:  # nodes of earlier tests are missed late
            assert time.monotonic() < end
            time.sleep(0.5)
        with joined(cluster, 2):
            while len(workers.idle({})) < 5:
                assert time.monotonic() < end
                workers.start(9)
                list(workers.poll(0.2))
            assert workers.count == 5
            workers.close()


def test_a_node_with_other_versions_is_refused(tmp_path: Path, cluster: TestCluster) -> None:
    other = tmp_path / "other"
    (other / "keras-1.0.dist-info").mkdir(parents=True)
    (other / "keras-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: keras\nVersion: 1.0\n"
    )
    display = RecordingDisplay()
    settings = SearchSettings(study="test", trials=9)
    end = time.monotonic() + 300
    with (
        joined(cluster, 3, PYTHONPATH=str(other)),
        workers_at("cluster", settings, tmp_path, "slow", 60, note=display.note) as workers,
    ):
        while not (workers.count == 3 and len(workers.idle({})) == 3 and display.lines):
            assert time.monotonic() < end, (workers.count, display.lines)
            workers.start(9)
            list(workers.poll(0.2))
        workers.close()
    assert len(display.lines) == 1
    assert "is not used: keras 1.0 in place of 3." in display.lines[0]


def test_a_cluster_of_refused_nodes_ends_the_search(
    tmp_path: Path, cluster: TestCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "search.workers.ray.backend.versions", lambda: {"python": "3.0", "keras": "9"}
    )
    with pytest.raises(ClusterError, match=r"no node of the cluster can be used; last reason: py"):
        search(tmp_path, space="slow", algorithm="random@cluster", trials=2, workers=None)


def test_the_client_reaches_the_cluster_from_outside(tmp_path: Path, cluster: TestCluster) -> None:
    killed: list[int] = []

    def kill_its_server() -> bool:
        for server in cluster.client_servers():
            with suppress(psutil.NoSuchProcess):
                server.kill()
                killed.append(server.pid)
        return bool(killed)

    killing = during(kill_its_server, every_seconds=0.02)  # connecting is tried once more
    script = f"""
import sys
from pathlib import Path
from tests.search.workers.ray import nodes
from tests.search.harness import search
nodes.shared_cluster = lambda: type("Address", (), {{"address": {cluster.client_address!r}}})
folder = Path({str(tmp_path)!r})
study, reason = search(folder, space="conditional", algorithm="tpe@cluster", trials=6)
print(repr(reason), len(study.trials))
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=LONGEST_SECONDS
    )
    assert ran.returncode == 0, ran.stderr + cluster.client_logs()
    killing.join()
    assert killed
    # A note that it waits for a free node may come first.
    assert ran.stdout.splitlines()[-1] == "None 6", ran.stdout


@pytest.mark.parametrize(
    ("address", "token", "reason"),
    [
        ("127.0.0.1:9", "", "[Errno 111] Connection refused"),
        ("ray://127.0.0.1:9", "", "[Errno 111] Connection refused"),
        ("cluster", "0" * 64, ""),
    ],
    ids=["nobody", "nobody at a client's port", "token"],
)
def test_an_address_without_a_cluster_is_one_line(
    cluster: TestCluster, address: str, token: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = cluster.address if address == "cluster" else address
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    script = f"""
from search.workers.ray.cluster import Resources, connect
from search.errors import ClusterError
try:
    with connect({reached!r}, Resources(), "cnn"):
        print("connected")
except ClusterError as error:
    print(error)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=LONGEST_SECONDS
    )
    assert f"--cluster {reached} cannot be reached: {reason}" in ran.stdout
    assert ran.stdout.count("\n") == 1


def test_too_large_a_trial_is_said() -> None:
    cluster = shared_cluster()
    with (
        pytest.raises(ClusterError, match=r"no node of the cluster had 64 CPUs and 0 GPUs free"),
        connect(cluster.address, Resources(cpus=64), "cnn") as connected,
    ):
        connected.precision(timeout_seconds=1)


@pytest.mark.parametrize(
    ("resources", "node", "workers"),
    [
        (Resources(), {"CPU": 8.0}, 8),
        (Resources(cpus=3), {"CPU": 8.0}, 2),
        (Resources(cpus=0.3), {"CPU": 0.9}, 3),
        (Resources(gpus=0.5), {"CPU": 8.0, "GPU": 2.0}, 4),
        (Resources(gpus=0.4), {"CPU": 8.0, "GPU": 2.0}, 4),
        (Resources(gpus=1), {"CPU": 8.0}, 0),
        (Resources(), {}, 0),
    ],
)
def test_as_many_workers_as_a_node_has_room_for(
    resources: Resources, node: dict[str, float], workers: int
) -> None:
    assert resources.fit_into(node) == workers


def test_what_a_space_imports_travels_and_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine" / "deep").mkdir(parents=True)  # a package without __init__.py
    (tmp_path / "mine" / "deep" / "model.py").touch()
    (tmp_path / "alone.py").touch()
    (tmp_path / "queue.py").touch()
    (tmp_path / ".#alone.py").symlink_to("nobody")
    for space, expected in (
        ("mine.deep.model:Model", {"mine/deep/model.py"}),
        ("alone:Model", {"alone.py", "queue.py"}),
        ("keras_tuner.applications:HyperResNet", set()),
        ("cnn", set()),
    ):
        folder = tmp_path / space.partition(":")[0]
        folder.mkdir()
        collect_code(space, folder)
        found = {str(file.relative_to(folder)) for file in folder.rglob("*.py")}
        ours = {file for file in found if file.startswith(("search/", "spaces/"))}
        assert "search/workers/ray/actor.py" in ours
        assert found - ours == {f"beside/{file}" for file in expected}
    with pytest.raises(SpaceError, match=r"there is no module 'nowhere' in .* set PYTHONPATH"):
        collect_code("nowhere:Model", tmp_path / "other")
