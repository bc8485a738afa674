"""Workers on the nodes of a Ray cluster: one actor each."""

import pickle
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError, RuntimeEnvSetupError

from search.errors import ClusterError, NodeError, first_line
from search.training.hardware import versions
from search.workers.pool import SILENCE_SECONDS, Died, Worker, Workers
from search.workers.process import KerasTrainer, MakeTrainer, WorkerSettings
from search.workers.ray.actor import TrainingActor
from search.workers.ray.cluster import Cluster

_FETCH_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 30.0
_NODE_LOST: Final = "node lost"


class ClusterWorker(Worker):
    """One actor."""

    def __init__(self, slot: int, actor: Any, cluster: Cluster) -> None:
        # Nobody can tell whether a node has room for it, until it says something.
        super().__init__(slot, heard=None)
        self._actor = actor
        self._cluster = cluster
        self.listening = actor.listen.remote()

    def listen(self) -> None:
        """Wait for what it says next."""
        self.listening = self._actor.listen.remote()

    def _send(self, message: object) -> None:
        with self._cluster.calls():
            self._actor.tell.remote(message)

    def last_words(self) -> str:
        """See `Worker`."""
        return "its output is in Ray's log folder on its node, /tmp/ray/session_latest/logs"

    def kill(self) -> None:
        """See `Worker`."""
        if not self._cluster.is_lost:
            # A connection that is lost shows when it is needed.
            with suppress(ClusterError), self._cluster.calls():
                ray.kill(self._actor, no_restart=True)


class ClusterWorkers(Workers[ClusterWorker]):
    """Ray actors, one worker each; new nodes are used as they join.

    Args:
        cluster: Where they run.
        settings: What all trials share; the images are read here, and sent to each node once.
        count: How many; None: as many as the cluster has room for at the time.
        note: Tells a person what must be known of a node.
        max_memory_mb: A worker above it is not given another trial; None: no limit.
        silence_seconds: A worker that says nothing for so long is replaced.
        make_trainer: Makes what runs the trials of each worker.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: WorkerSettings,
        *,
        count: int | None,
        note: Callable[[str], None],
        max_memory_mb: float | None = None,
        silence_seconds: float = SILENCE_SECONDS,
        make_trainer: MakeTrainer = KerasTrainer,
    ) -> None:
        super().__init__(max_memory_mb=max_memory_mb, silence_seconds=silence_seconds)
        self._cluster = cluster
        self._wanted = count
        self._note = note
        self._images = ray.put(settings.load_split())
        self._work = pickle.dumps((make_trainer, settings))
        # Often enough that silence is no chance, and no more: each beat is a call to this process.
        self._beat_seconds = min(10.0, silence_seconds / 6)
        self._refused: dict[str, str] = {}
        self._began = time.monotonic()
        self._waited = False

    @property
    def count(self) -> int:
        """How many shall run."""
        return self._room() if self._wanted is None else self._wanted

    def _spawn(self, slot: int) -> ClusterWorker:
        resources = self._cluster.resources
        options: dict[str, Any] = {
            "num_cpus": resources.cpus,
            "num_gpus": resources.gpus,
            "max_concurrency": 2,  # it listens while it is told
            "max_restarts": 0,  # the coordinator runs lost trials again
            "scheduling_strategy": "SPREAD",
        }
        if self._refused:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(self._refused)})"}
        actor = ray.remote(TrainingActor).options(**options)
        with self._cluster.calls():
            started = actor.remote(versions(), self._work, [self._images], self._beat_seconds)
            return ClusterWorker(slot, started, self._cluster)

    def _wait(self, timeout_seconds: float) -> list[ClusterWorker]:
        self._cluster.check()
        if self._refused and not self._room():
            last = list(self._refused.values())[-1]
            raise ClusterError(f"no node of the cluster can be used, the last: {last}.")
        self._say_what_is_missing()
        by_reference = {worker.listening: worker for worker in self._workers.values()}
        if not by_reference:
            time.sleep(timeout_seconds)
            return []
        references = list(by_reference)
        with self._cluster.calls():
            done, _ = ray.wait(references, num_returns=1, timeout=timeout_seconds)
            if done:
                done, _ = ray.wait(references, num_returns=len(references), timeout=0)
        return [by_reference[reference] for reference in done]

    def _read(self, worker: ClusterWorker) -> list[Any]:
        with self._cluster.calls():
            return self._fetch(worker)

    def _fetch(self, worker: ClusterWorker) -> list[Any]:
        try:
            messages: list[Any] = ray.get(worker.listening, timeout=_FETCH_SECONDS)
        except GetTimeoutError:
            return []  # on a node that does not move: silence will tell
        except RayTaskError as error:
            if not isinstance(error.cause, NodeError):
                return [Died(str(error.cause))]
            self._refuse(error.cause)
            self.replace(worker)
            return []
        except RayError as error:
            self._cluster.check(at_once=True)
            return [Died(_death_words(error))]
        worker.listen()
        worker.heard = time.monotonic()
        return messages

    def _refuse(self, error: NodeError) -> None:
        if error.node in self._refused:
            return
        self._refused[error.node] = error.reason
        self._note(f"node {error.node[:8]} is not used: {error.reason}")

    def _bury(self, worker: ClusterWorker, reason: str) -> None:
        if reason == _NODE_LOST:
            self.replace(worker)  # no fault of its own, however many it held
        else:
            super()._bury(worker, reason)

    def _room(self) -> int:
        """How many workers all nodes that can be used hold."""
        fit = self._cluster.resources.fit_into
        nodes = self._cluster.nodes().items()
        return sum(fit(node) for name, node in nodes if name not in self._refused)

    def _say_what_is_missing(self) -> None:
        if any(worker.heard is not None for worker in self._workers.values()):
            self._began, self._waited = time.monotonic(), False
        if self._waited or time.monotonic() - self._began < _PATIENCE_SECONDS:
            return
        self._waited = True
        needed = self._cluster.resources
        self._note(
            f"waiting for a node with {needed.cpus:g} CPUs and {needed.gpus:g} GPUs free (Ctrl-C "
            "stops; the same command continues)"
        )


def _death_words(error: RayError) -> str:
    # Ray tells by its words only; a process that Ray cannot reach may yet be alive, and is killed.
    if "node has died" in str(error):
        return _NODE_LOST
    if isinstance(error, RuntimeEnvSetupError):
        return f"the code could not be set up: {first_line(error)}"
    return "out of memory" if "OutOfMemory" in str(error) else "process lost"
