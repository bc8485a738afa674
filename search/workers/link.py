"""The link of a worker to its coordinator."""

import threading
from typing import Any, Protocol

from search.workers.messages import Answer, Built, Epoch, Message, Suggest, Timed


class CoordinatorGoneError(Exception):
    """The coordinator does not take or send messages any more, so the worker ends."""


class Channel(Protocol):
    """The worker's end of a pipe, or the queues of a Ray actor."""

    def send(self, message: object) -> None:
        """Send a message to the coordinator; `OSError` when it is gone."""

    def recv(self) -> Any:
        """Wait for the coordinator's next message; `EOFError` or `OSError` when it is gone."""


class Link:
    """A channel that two threads may send on."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """Send a message that gets no answer.

        Raises:
            CoordinatorGoneError: The message cannot be sent.
        """
        try:
            with self._lock:
                self._channel.send(message)
        except OSError as error:
            raise CoordinatorGoneError from error

    def receive(self) -> Any:
        """Wait for the coordinator's next message.

        Raises:
            CoordinatorGoneError: There will be none.
        """
        try:
            return self._channel.recv()
        except (EOFError, OSError) as error:
            raise CoordinatorGoneError from error

    def ask(self, message: Suggest | Built | Timed | Epoch) -> Any:
        """Send a message and return the value of its answer."""
        self.send(message)
        answer = self.receive()
        assert isinstance(answer, Answer), answer
        return answer.value
