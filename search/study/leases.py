"""Which coordinators of a study are alive: each renews a lease in the study, which others watch.

Clocks are not compared. A lease is stale once its value has stayed the same while the observer
looked for so long; while the database is away, nobody can look, and nothing grows old.
"""

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, Final

import optuna
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from search.errors import SearchError, StudyError

BEAT_SECONDS: Final = 10.0
GRACE_SECONDS: Final = 60.0  # well above the longest that a live coordinator can miss its beats
OWNER: Final = "coordinator"  # a trial's attribute: the lease of who runs it
_LEASE: Final = "coordinator:"  # how the study's attributes of leases begin
_ENDED: Final = "ended"


@dataclass(frozen=True, slots=True)
class Lost:
    """A trial that nobody runs although it is marked as running.

    Args:
        trial: The trial.
        safe: Nobody can come back to it: it may be run again under its number.
    """

    trial: FrozenTrial
    safe: bool


class Leases:
    """The leases of a study, one of which is this process' own.

    Args:
        study: The study.
        beat_seconds: How often a lease is renewed.
        grace_seconds: A lease that stays the same for so long is stale.
    """

    def __init__(
        self,
        study: optuna.Study,
        beat_seconds: float = BEAT_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self.taken_over = False
        self._study = study
        self._beat_seconds = beat_seconds
        self._grace_seconds = grace_seconds
        self._written: dict[str, Any] = {}
        self._closing = threading.Event()
        # Of its own: neither slow sampling nor a long write must make this process look dead.
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._looked = time.monotonic()
        self._stale: set[str] = set()
        self._seen: dict[str | int, tuple[Any, float]] = {}  # values, and since when they stay

    def take_over(self, say: Callable[[str], None]) -> None:
        """End the leases of all others, if they are dead; before `open`.

        Args:
            say: Takes a line for the person, if that takes its time.

        Raises:
            StudyError: One of them is alive.
        """
        before = self._others()
        if not before:
            return
        seconds = self._grace_seconds
        who = ", ".join(_who(lease) for lease in before.values())
        name = self._study.study_name
        say(
            f"study {name!r} was not closed by its coordinator ({who}); watching for {seconds:g} s "
            "whether it still runs"
        )
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self._beat_seconds / 10)
            for other, lease in self._others().items():
                if lease != before.get(other):
                    raise StudyError(
                        f"study {name!r} is being searched by another coordinator "
                        f"({_who(lease)}); add --join to help it, or start another study with "
                        "--study NAME."
                    )
        for other, lease in before.items():
            self._write(other, lease | {"state": _ENDED})

    def open(self) -> None:
        """Take a lease of one's own, and keep it."""
        self._renew()
        self._thread.start()

    def close(self) -> None:
        """Give the lease back, if the database can be reached."""
        self._closing.set()
        if not self._thread.is_alive():
            return
        self._thread.join(self._beat_seconds)
        if not self.taken_over:
            try:
                self._write(self.name, self._written | {"state": _ENDED})
            except (SearchError, OptunaError, SQLAlchemyError):
                return

    def lost(self, held: Container[int]) -> list[Lost]:
        """Trials that are marked as running but are in nobody's hands; looks once a beat.

        Args:
            held: Numbers of the trials that this process runs.
        """
        step = time.monotonic() - self._looked
        if step < self._beat_seconds:
            return []
        self._looked += step
        before, self._seen = self._seen, {}

        def age(key: str | int, value: Any) -> float:
            # A longer step is a pause of this process, or of the database: nobody was watched.
            then, seconds = before.get(key, (value, -step))
            seconds = seconds + min(step, 2 * self._beat_seconds) if then == value else 0.0
            self._seen[key] = value, max(0.0, seconds)
            return self._seen[key][1]

        # First the trials: who takes one has opened a lease before.
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        others = self._others()
        self._stale = {name for name in others if age(name, others[name]) >= self._grace_seconds}
        alive = others.keys() - self._stale
        found = []
        for trial in running:
            owner = trial.user_attrs.get(OWNER)
            if trial.number in held or owner in alive:
                continue
            safe = owner == self.name or not (alive or owner in others)
            # One that was taken just now does not bear its new owner's name yet.
            if age(trial.number, owner) >= (self._beat_seconds if safe else self._grace_seconds):
                found.append(Lost(trial, safe))
        return found

    def alive(self, owner: str | None) -> bool:
        """Whether another coordinator of that name is alive, as far as is known."""
        return owner in self._others() and owner not in self._stale

    def _others(self) -> dict[str, dict[str, Any]]:
        return {
            key.removeprefix(_LEASE): lease
            for key, lease in self._study.user_attrs.items()
            if key.startswith(_LEASE) and key != _LEASE + self.name and lease["state"] != _ENDED
        }

    def _keep(self) -> None:
        while not self._closing.wait(self._beat_seconds) and not self.taken_over:
            try:
                self._renew()
            except (SearchError, OptunaError, SQLAlchemyError):
                continue  # the coordinator meets the same trouble, and says so

    def _renew(self) -> None:
        if self._written:
            stored = self._study.user_attrs.get(_LEASE + self.name)
            self.taken_over = stored != self._written
            if self.taken_over:
                return
        who = {"host": socket.gethostname(), "pid": os.getpid()}
        lease = {**who, "state": self._written.get("state", 0) + 1}  # how often it was renewed
        self._write(self.name, lease)
        self._written = lease

    def _write(self, name: str, lease: dict[str, Any]) -> None:
        self._study.set_user_attr(_LEASE + name, lease)


def _who(lease: dict[str, Any]) -> str:
    return f"host {lease['host']}, process {lease['pid']}"
