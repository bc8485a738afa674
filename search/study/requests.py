"""Requests of other processes to a running search, stored in its study.

A request is one attribute of the study: any process that can open the storage writes it, and the
coordinator reads it every few seconds. It names the run that it is for, so that no later run
follows it.
"""

import math
import time
import uuid
from typing import Final

import optuna

RUN: Final = "run"  # attribute of a study: id of the run that searches it, None after its end
REQUEST: Final = "request"  # attribute of a study: `ask` and `run` of a request, or None
STOP: Final = "stop"
PAUSE: Final = "pause"  # until it is withdrawn
ENQUEUED: Final = "enqueued"  # attribute of a trial that another process has put there: how
REQUEST_SECONDS: Final = 2.0  # each look is a read of the journal, or a statement of a database


def begin_run(study: optuna.Study) -> None:
    """Record that a run begins and accepts requests; requests to earlier runs no longer count."""
    study.set_user_attr(RUN, uuid.uuid4().hex)


def end_run(study: optuna.Study) -> None:
    """Record that a run ends, so that it gets no request while the next one starts."""
    study.set_user_attr(RUN, None)


def takes_requests(study: optuna.Study) -> bool:
    """Return whether a run has begun, and has not ended unless it was killed."""
    return study.user_attrs.get(RUN) is not None


def request_of(study: optuna.Study) -> str | None:
    """Return the request to the present run: `STOP`, `PAUSE`, or None."""
    attrs = study.user_attrs
    request = attrs.get(REQUEST)
    return request["ask"] if request and request["run"] == attrs.get(RUN) else None


def put_request(study: optuna.Study, ask: str | None) -> None:
    """Replace the request to the present run; None withdraws it."""
    run = study.user_attrs.get(RUN)
    study.set_user_attr(REQUEST, None if ask is None else {"ask": ask, "run": run})


class Inbox:
    """The requests to a run, read from its study every few seconds.

    Args:
        study: A study that this process holds.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._request: str | None = None
        self._read_at = -math.inf

    def look(self) -> str | None:
        """Return the request as of the last read; a request to stop is removed from the study."""
        now = time.monotonic()
        if now - self._read_at >= REQUEST_SECONDS:
            self._read_at = now
            self._request = request_of(self._study)
            if self._request == STOP:
                put_request(self._study, None)
        return self._request
