"""A real Ray cluster of two nodes on loopback, for the tests of one process; tokens guard it."""

import atexit
import ctypes
import functools
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests import LONGEST_SECONDS, free_port

# Read when Ray is imported, here and in all that is started from here.
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ |= {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "GRPC_ENABLE_FORK_SUPPORT": "0",  # as docs/distributed.md wants it of a head
}


class Node:
    """One `ray start --block` with all that belongs to it."""

    def __init__(self, *flags: str) -> None:
        ray = str(Path(sys.executable).with_name("ray"))
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the node
        self._process = subprocess.Popen(
            [ray, "start", "--block", "--disable-usage-stats", *flags],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        end = time.monotonic() + LONGEST_SECONDS
        while "Ray runtime started" not in self.said():
            assert time.monotonic() < end and self._process.poll() is None, self.said()
            time.sleep(0.2)

    def processes(self) -> list[psutil.Process]:
        """All processes of the node, its workers too."""
        try:
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def workers(self) -> list[psutil.Process]:
        """Processes that run an actor now."""
        return [one for one in self.processes() if "TrainingActor" in "".join(_command(one))]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of it."""
        for process in self.processes():
            _send(process, number)

    def kill(self) -> None:
        """`kill -9` all of it, as when the machine goes down."""
        self.signal(signal.SIGKILL)
        self._process.wait()

    def said(self) -> str:
        """What `ray start` printed."""
        self._log.seek(0)
        return self._log.read()


class TestCluster:
    """A head with one core and a node with two.

    Args:
        head_cpus: Cores of the head.

    Attributes:
        address: For `--cluster`.
        client_address: The same cluster by Ray's client, for `--cluster`.
    """

    __test__ = False

    def __init__(self, head_cpus: int = 1) -> None:
        self._folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets want short paths
        port, client_port = free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        self.client_address = f"ray://127.0.0.1:{client_port}"
        self.head = Node(
            "--head",
            f"--port={port}",
            f"--ray-client-server-port={client_port}",
            f"--temp-dir={self._folder}",
            "--include-dashboard=false",
            "--node-ip-address=127.0.0.1",
            f"--num-cpus={head_cpus}",
            "--object-store-memory=100000000",
        )
        self.node = self.add_node(2)

    def add_node(self, cpus: int, **environment: str) -> Node:
        """Another machine joins."""
        before = dict(os.environ)
        os.environ |= environment
        try:
            return Node(
                f"--address={self.address}",
                "--node-ip-address=127.0.0.1",
                f"--num-cpus={cpus}",
                "--object-store-memory=100000000",
            )
        finally:
            os.environ.clear()
            os.environ |= before

    def client_servers(self) -> list[psutil.Process]:
        """The head's processes that each serve one client."""
        return [one for one in self.head.processes() if "--mode=specific-server" in _command(one)]

    def client_logs(self) -> str:
        """What these processes have written to their logs."""
        logs = sorted(Path(self._folder).glob("session_latest/logs/ray_client_server*"))
        return "\n".join(f"{log.name}:\n{log.read_text()[-3000:]}" for log in logs)

    def close(self) -> None:
        """End all of it."""
        for node in (self.node, self.head):
            node.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


@functools.cache
def shared_cluster() -> TestCluster:
    """The cluster of this process of the tests; it ends with it."""
    cluster = TestCluster()
    atexit.register(cluster.close)
    return cluster


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
