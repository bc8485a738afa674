"""A worker inside a Ray actor: the same loop as in a local process.

The module imports only the standard library and modules of ours that need nothing else, because the
versions of the node's packages are checked first.
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
    """Runs the trials of one coordinator.

    Args:
        expected: `versions()` of the coordinator.
        work: Pickled trainer class and settings; `load_split` of the settings is not used.
        images: List of one Ray reference, of the split. In a list, so that Ray does not fetch it
            before the actor starts.
        beat_seconds: Interval of heartbeats, and the longest wait of `listen`.
    """

    def __init__(
        self, expected: dict[str, str], work: bytes, images: list[Any], beat_seconds: float
    ) -> None:
        self._beat_seconds = beat_seconds
        self._queues = _Queues()
        self._refusal = ""
        if wrong := _differences(expected, versions()):
            self._refuse(wrong)
        else:
            threading.Thread(target=self._live, args=(work, images), daemon=True).start()

    def listen(self) -> list[Any]:
        """Return the worker's messages since the last call, waiting for the first of them.

        Raises:
            NodeError: No trial can run on this node.
        """
        messages = self._queues.collect(self._beat_seconds)
        if self._refusal:
            raise NodeError(self._refusal, _node_id())
        return messages

    def tell(self, message: object) -> None:
        """Pass a message to the worker."""
        self._queues.inbox.put(message)

    def _live(self, work: bytes, images: list[Any]) -> None:
        try:
            self._serve(work, images)
        except BaseException:
            # End the actor, as an error ends a local process.
            traceback.print_exc()
            os._exit(1)

    def _serve(self, work: bytes, images: list[Any]) -> None:
        import dataclasses

        import ray

        from search.workers.process import serve
        from search.workers.ray.code import BESIDE
        from spaces.errors import one_line

        sys.path.append(str(Path(__file__).resolve().parents[3] / BESIDE))
        trainer_class, settings = pickle.loads(work)
        try:
            split = ray.get(images[0], timeout=_DATA_SECONDS)
        except ray.exceptions.RayError as error:
            self._refuse(f"the images do not reach it ({one_line(error)})")
            return
        settings = dataclasses.replace(settings, load_split=lambda: split)
        serve(self._queues, settings, trainer_class, beat_seconds=self._beat_seconds)

    def _refuse(self, reason: str) -> None:
        self._refusal = reason
        self._queues.send(None)  # ends the wait in `listen`


class _Queues:
    """The worker's channel to the coordinator."""

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def send(self, message: object) -> None:
        self._outbox.put(message)

    def recv(self) -> Any:
        # Ray ends the actor with its coordinator, so this cannot wait for ever.
        return self.inbox.get()

    def collect(self, timeout_seconds: float) -> list[Any]:
        messages: list[Any] = []
        with contextlib.suppress(queue.Empty):
            messages.append(self._outbox.get(timeout=timeout_seconds))
            while True:
                messages.append(self._outbox.get_nowait())
        return messages


def _differences(expected: dict[str, str], found: dict[str, str]) -> str:
    """Return the packages whose versions differ from the coordinator's; empty if none does."""
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
