"""Connect to a Ray cluster, and watch its head, its nodes and their resources."""

import logging
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import joblib

from search.errors import ClusterError
from search.training.hardware import Precision, best_precision, training_variables
from search.workers.ray.code import collect_code
from spaces.errors import one_line

_PLACEMENT_SECONDS: Final = 300.0
_REFRESH_SECONDS: Final = 5.0
_CONNECT_SECONDS: Final = 10.0
_HEAD_ATTEMPTS: Final = 10


@dataclass(frozen=True, slots=True)
class Resources:
    """Resources of one worker.

    Args:
        cpus: Cores, above 0; fractions share one. TensorFlow gets as many threads, at least 1.
        gpus: GPUs, 0 or more; fractions share one, and its memory.
    """

    cpus: float = 1.0
    gpus: float = 0.0

    def fit_into(self, node: dict[str, float]) -> int:
        """Return the number of workers that fit on a node with these resources."""
        # 0.9 / 0.3 is a little less than 3.
        fitting = [int(node.get("CPU", 0.0) / self.cpus + 1e-9)]
        if 0 < self.gpus < 1:  # a fraction cannot span two GPUs
            fitting.append(int(node.get("GPU", 0.0)) * int(1 / self.gpus + 1e-9))
        elif self.gpus:
            fitting.append(int(node.get("GPU", 0.0) / self.gpus))
        return min(fitting)


class Cluster:
    """A Ray cluster that this process is connected to.

    Args:
        resources: Resources of one worker.
        head: Host and port of the head, to check that it is alive; None if Ray's own calls fail
            once it is gone, as they do over `ray://`.
    """

    def __init__(self, resources: Resources, head: tuple[str, int] | None) -> None:
        self.resources = resources
        self.is_lost = False
        self._head = head
        self._checked = time.monotonic()
        self._refreshed = -_REFRESH_SECONDS
        self._nodes: dict[str, dict[str, float]] = {}

    def nodes(self) -> dict[str, dict[str, float]]:
        """Return the resources of each node that is alive, by id; refreshed every few seconds."""
        import ray

        now = time.monotonic()
        if now - self._refreshed > _REFRESH_SECONDS:
            self._refreshed = now
            self.check(at_once=True)
            with self.calls():
                found = ray.nodes()
            self._nodes = {
                node["NodeID"]: dict(node["Resources"]) for node in found if node["Alive"]
            }
        return self._nodes

    def check(self, *, at_once: bool = False) -> None:
        """Check that the head answers; without it, Ray's calls block, then end this process.

        Args:
            at_once: Check even if it answered a few seconds ago.

        Raises:
            ClusterError: It does not answer, after several attempts.
        """
        now = time.monotonic()
        if self._head is None or (now - self._checked < _REFRESH_SECONDS and not at_once):
            return
        for _ in range(_HEAD_ATTEMPTS):
            try:
                socket.create_connection(self._head, timeout=1.0).close()
            except OSError:
                time.sleep(1.0)
            else:
                self._checked = time.monotonic()
                return
        raise self._lost()

    @contextmanager
    def calls(self) -> Iterator[None]:
        """Turn a lost connection in Ray's calls inside into an error.

        Raises:
            ClusterError: The connection is lost.
        """
        from ray.exceptions import RaySystemError

        try:
            yield
        except (ConnectionError, RaySystemError) as error:
            raise self._lost() from error

    def _lost(self) -> ClusterError:
        self.is_lost = True
        return ClusterError(
            "the cluster's head is gone. No finished trial is lost: start the cluster, then run "
            "the same command again."
        )

    def precision(self, timeout_seconds: float = _PLACEMENT_SECONDS) -> Precision:
        """Return the fastest number format on a node with room for a worker.

        Raises:
            ClusterError: No node had room within the timeout, or this project's code fails there.
        """
        import ray

        options = {"num_cpus": self.resources.cpus, "num_gpus": self.resources.gpus}
        asked = ray.remote(best_precision).options(**options).remote()
        try:
            found: Precision = ray.get(asked, timeout=timeout_seconds)
        except ray.exceptions.GetTimeoutError as error:
            raise ClusterError(
                f"no node of the cluster had {self.resources.cpus:g} CPUs and "
                f"{self.resources.gpus:g} GPUs free for {timeout_seconds:.0f} s; ask for less with "
                "--cpus-per-trial and --gpus-per-trial, or add nodes."
            ) from error
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"the cluster cannot run this project's code: {one_line(error)}. Nodes need the "
                "packages of requirements.txt and requirements-distributed.txt."
            ) from error
        return found


@contextmanager
def connect(
    address: str, resources: Resources, space: str, packages: Sequence[str] | None = None
) -> Iterator[Cluster]:
    """Connect to a cluster, and send it the code that workers need.

    Args:
        address: `local` (started here, for this search), `auto` (the one that this machine
            belongs to), `host:port`, or `ray://host:port`.
        resources: Resources of one worker.
        space: Name of the space, whose module is sent too.
        packages: Packages of this project to send; None: those that a search needs.

    Raises:
        ClusterError: Ray is not installed, or no cluster answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # After the connection is lost a call must fail, not start a cluster here.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    try:
        import ray
    except ImportError as error:
        raise ClusterError(
            f"--cluster {address} needs Ray, which is not installed; "
            "pip install -r requirements-distributed.txt"
        ) from error
    with tempfile.TemporaryDirectory(prefix="search-code-") as code:
        collect_code(space, Path(code), *([packages] if packages else []))
        started: dict[str, Any] = {"num_cpus": joblib.cpu_count()} if address == "local" else {}
        try:
            _check_port(address)
            init = partial(
                ray.init,
                address,
                runtime_env={"working_dir": code, "env_vars": _variables(resources)},
                log_to_driver=False,
                logging_level=logging.ERROR,
                **started,
            )
            try:
                init()
            except ConnectionAbortedError:
                # gRPC's fork handlers now and then crash the server that the head forks for this
                # client. Source: https://github.com/grpc/grpc/issues/43055
                init()
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise ClusterError(
                f"--cluster {address} cannot be reached: {one_line(error)}. Check that the cluster "
                "runs, that its versions of Ray and Python are those of this machine, and its "
                "token (RAY_AUTH_MODE, RAY_AUTH_TOKEN)."
            ) from error
    try:
        yield Cluster(resources, _head(address))
    finally:
        ray.shutdown()


def _check_port(address: str) -> None:
    # Ray itself tries for minutes where packets are lost. (It would also wait for a head that is
    # just starting, and go through a proxy.)
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()


def _head(address: str) -> tuple[str, int] | None:
    import ray

    if address.startswith("ray://"):
        return None
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    return host, int(port)


def _variables(resources: Resources) -> dict[str, str]:
    variables = training_variables(threads=max(1, int(resources.cpus)))
    # Ray leaves all GPUs visible to actors that asked for none.
    return variables if resources.gpus else variables | {"CUDA_VISIBLE_DEVICES": "-1"}
