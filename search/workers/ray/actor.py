"""A worker on a node of a cluster: the same loop as in a local process, inside a Ray actor.

Only the standard library is imported before the node's packages are known to be the right ones.
"""

import contextlib
import os
import pickle
import queue
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, Final

from search.errors import NodeError
from search.training.hardware import versions

_DATA_SECONDS: Final = 120.0


class TrainingActor:
    """Trains for one coordinator.

    Args:
        expected: `versions()` of the coordinator.
        work: Pickled: what makes the trainer, and its settings.
        images: Holds the reference of the split that the settings' `load_split` shall give.
        beat_seconds: Time between two signs of life.
    """

    def __init__(
        self, expected: dict[str, str], work: bytes, images: list[Any], beat_seconds: float
    ) -> None:
        self._beat_seconds = beat_seconds
        self._line = _Queues()
        self._refusal = ""
        if wrong := _differences(expected, versions()):
            self._refuse(wrong)
        else:
            threading.Thread(target=self._live, args=(work, images), daemon=True).start()

    def listen(self) -> list[Any]:
        """What the worker has said since the last call; waits a while for it.

        Raises:
            NodeError: No trial can run on this node.
        """
        messages = self._line.collect(self._beat_seconds)
        if self._refusal:
            raise NodeError(self._refusal, _node_id())
        return messages

    def tell(self, message: object) -> None:
        """Hand a message to the worker."""
        self._line.inbox.put(message)

    def _live(self, work: bytes, images: list[Any]) -> None:
        try:
            self._serve(work, images)
        except BaseException:
            # As a process of its own would end.
            traceback.print_exc()
            os._exit(1)

    def _serve(self, work: bytes, images: list[Any]) -> None:
        import dataclasses

        import ray

        from search.workers.process import serve
        from search.workers.ray.code import BESIDE

        sys.path.append(str(Path(__file__).resolve().parents[3] / BESIDE))
        make_trainer, settings = pickle.loads(work)
        try:
            split = ray.get(images[0], timeout=_DATA_SECONDS)
        except ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self._refuse(f"the images do not reach it ({lines[0]})")
            return
        settings = dataclasses.replace(settings, load_split=lambda: split)
        serve(self._line, settings, make_trainer, beat_seconds=self._beat_seconds)

    def _refuse(self, reason: str) -> None:
        self._refusal = reason
        self._line.send(None)  # ends the wait in `listen`


class _Queues:
    """The worker's line to the coordinator."""

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def send(self, message: object) -> None:
        self._outbox.put(message)

    def recv(self) -> Any:
        # The actor ends with its coordinator, so that nobody waits here for ever.
        return self.inbox.get()

    def collect(self, timeout_seconds: float) -> list[Any]:
        messages: list[Any] = []
        with contextlib.suppress(queue.Empty):
            messages.append(self._outbox.get(timeout=timeout_seconds))
            while True:
                messages.append(self._outbox.get_nowait())
        return messages


def _differences(expected: dict[str, str], found: dict[str, str]) -> str:
    """Packages of other versions than the coordinator's, in words; empty if there are none."""
    return ", ".join(
        f"{package} {found.get(package)} in place of {version}"
        for package, version in expected.items()
        if _release(package, version) != _release(package, found.get(package, ""))
    )


def _release(package: str, version: str) -> str:
    # Pickles and bytecode are the same within a minor version of Python.
    return ".".join(version.split(".")[:2]) if package == "python" else version


def _node_id() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())
