"""Worker processes on the nodes of a Ray cluster: one actor each."""

import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError, RuntimeEnvSetupError

from search.errors import ClusterError, NodeError
from search.training.hardware import versions
from search.workers.keras_trainer import WorkerSettings
from search.workers.messages import Died, Message
from search.workers.process import Trainer
from search.workers.ray.actor import TrainingActor
from search.workers.ray.cluster import Cluster
from spaces.errors import one_line

_FETCH_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 30.0


class RayProcess:
    """An actor; see `search.workers.pool.WorkerProcess`.

    Args:
        actor: Handle of a `TrainingActor`.
        cluster: Where it runs.
        refuse: Called if no trial can run on its node.
    """

    log = "Ray's log folder on its node, /tmp/ray/session_latest/logs"

    def __init__(self, actor: Any, cluster: Cluster, refuse: Callable[[NodeError], None]) -> None:
        self.heard: float | None = None  # it waits until a node has room
        self.pending = actor.listen.remote()
        self._actor = actor
        self._cluster = cluster
        self._refuse = refuse

    def send(self, message: object) -> None:
        """See `WorkerProcess`."""
        with self._cluster.calls():
            self._actor.tell.remote(message)

    def read(self) -> Sequence[Message]:
        """See `WorkerProcess`."""
        with self._cluster.calls():
            return self._fetch()

    def _fetch(self) -> Sequence[Message]:
        try:
            messages: list[Message] = ray.get(self.pending, timeout=_FETCH_SECONDS)
        except GetTimeoutError:
            return []  # its node is frozen, which `heard` will show
        except RayTaskError as error:
            if not isinstance(error.cause, NodeError):
                return [Died(str(error.cause))]
            self._refuse(error.cause)
            return [Died("node not used", is_own_fault=False)]
        except RayError as error:
            self._cluster.check(at_once=True)
            return [_death(error)]
        self.pending = self._actor.listen.remote()
        self.heard = time.monotonic()
        return messages

    def last_lines(self) -> str:
        """See `WorkerProcess`."""
        return f"its output is in {self.log}"

    def kill(self, *, wait: bool = True) -> None:
        """See `WorkerProcess`; Ray does not wait."""
        if not self._cluster.is_lost:
            # A lost connection is reported by the next call that needs it.
            with suppress(ClusterError), self._cluster.calls():
                ray.kill(self._actor, no_restart=True)


class RayBackend:
    """Ray actors, one worker each; new nodes are used as they join.

    Args:
        cluster: Where they run.
        settings: Settings that all trials share; the images are loaded here and sent to each node
            once.
        trainer_class: Runs the trials.
        count: Number of workers; None: as many as the cluster has room for at the time.
        note: Called with a line about a node.
        beat_seconds: Interval of heartbeats.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: WorkerSettings,
        trainer_class: type[Trainer],
        *,
        count: int | None,
        note: Callable[[str], None],
        beat_seconds: float,
    ) -> None:
        self._cluster = cluster
        self._count = count
        self._note = note
        self._beat_seconds = beat_seconds
        self._images = ray.put(settings.load_split())
        self._work = pickle.dumps((trainer_class, settings))
        self._refused: dict[str, str] = {}  # reasons by node
        self._began = time.monotonic()
        self._waited = False

    @property
    def count(self) -> int:
        """See `search.workers.pool.Backend`."""
        return self._room() if self._count is None else self._count

    def spawn(self, slot: int) -> RayProcess:
        """See `search.workers.pool.Backend`."""
        resources = self._cluster.resources
        options: dict[str, Any] = {
            "num_cpus": resources.cpus,
            "num_gpus": resources.gpus,
            "max_concurrency": 2,  # `listen` and `tell` at the same time
            "max_restarts": 0,  # the pool starts another worker
            "scheduling_strategy": "SPREAD",
        }
        if self._refused:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(self._refused)})"}
        actor = ray.remote(TrainingActor).options(**options)
        with self._cluster.calls():
            started = actor.remote(versions(), self._work, [self._images], self._beat_seconds)
            return RayProcess(started, self._cluster, self._refuse)

    def wait(self, processes: Sequence[RayProcess], timeout_seconds: float) -> Sequence[RayProcess]:
        """See `search.workers.pool.Backend`."""
        self._cluster.check()
        if self._refused and not self._room():
            last = list(self._refused.values())[-1]
            raise ClusterError(f"no node of the cluster can be used; last reason: {last}.")
        self._note_a_long_wait(processes)
        if not processes:
            time.sleep(timeout_seconds)
            return []
        by_reference = {process.pending: process for process in processes}
        references = list(by_reference)
        with self._cluster.calls():
            done, _ = ray.wait(references, num_returns=1, timeout=timeout_seconds)
            if done:
                done, _ = ray.wait(references, num_returns=len(references), timeout=0)
        return [by_reference[reference] for reference in done]

    def _refuse(self, error: NodeError) -> None:
        if error.node not in self._refused:
            self._refused[error.node] = error.reason
            self._note(f"node {error.node[:8]} is not used: {error.reason}")

    def _room(self) -> int:
        """Return the number of workers that fit on all usable nodes."""
        fit = self._cluster.resources.fit_into
        nodes = self._cluster.nodes().items()
        return sum(fit(node) for name, node in nodes if name not in self._refused)

    def _note_a_long_wait(self, processes: Sequence[RayProcess]) -> None:
        if any(process.heard is not None for process in processes):
            self._began, self._waited = time.monotonic(), False
        if self._waited or time.monotonic() - self._began < _PATIENCE_SECONDS:
            return
        self._waited = True
        needed = self._cluster.resources
        self._note(
            f"waiting for a node with {needed.cpus:g} CPUs and {needed.gpus:g} GPUs free (Ctrl-C "
            "stops; repeat the command to resume)"
        )


def _death(error: RayError) -> Died:
    # Ray distinguishes these by the message only. A process that Ray calls lost may still run on a
    # node that cannot be reached; the pool kills it.
    if "node has died" in str(error):
        return Died("node lost", is_own_fault=False)
    if isinstance(error, RuntimeEnvSetupError):
        return Died(f"the code could not be set up: {one_line(error)}")
    return Died("out of memory" if "OutOfMemory" in str(error) else "process lost")
