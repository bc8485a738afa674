"""Requests of other processes to a running search, which its study holds.

A request is one attribute of the study: any process that can open the storage writes it, and the
coordinator reads it every few seconds. A new run removes what an earlier one left.
"""

from typing import Final

import optuna

REQUEST: Final = "request"  # attribute of a study: one of the next two, or None
STOP: Final = "stop"
PAUSE: Final = "pause"  # until the attribute is None again
ENQUEUED: Final = "enqueued"  # attribute of a trial that another process has put there: how
REQUEST_SECONDS: Final = 2.0  # each look is a read of the journal, or a statement of a database


def request_of(study: optuna.Study) -> str | None:
    """Return the request that a study holds; None without one."""
    request = study.user_attrs.get(REQUEST)
    return request if request in (STOP, PAUSE) else None


def put_request(study: optuna.Study, request: str | None) -> None:
    """Replace the request that a study holds; None withdraws it."""
    if request_of(study) != request:
        study.set_user_attr(REQUEST, request)
