"""The coordinator: the only process that runs and ends trials.

Other processes may only add requests and enqueued trials to the study.

It gives trials to workers, answers their questions, records their results, and decides when to
stop. It loads no TensorFlow unless KerasTuner proposes.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

import optuna
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from search.attempt import Attempt
from search.display import Display, Progress, RunningTrial
from search.engines.engine import Budget, Engine
from search.errors import SearchError, StopReason, StorageError
from search.length import Plan, TimeLeft
from search.settings import SearchSettings
from search.study.artifacts import Artifacts, Checkpoints
from search.study.front import front, value_of
from search.study.health import Trials, findings
from search.study.objective import COSTS
from search.study.requests import PAUSE, STOP, Inbox
from search.study.study import (
    FINISHED,
    best_trial,
    count_states,
    finished_since,
    front_of,
    known_as,
    trial_seed,
)
from search.workers.messages import (
    Answer,
    Built,
    Died,
    Epoch,
    Failed,
    Message,
    Suggest,
    Timed,
    Train,
    Trained,
)
from search.workers.pool import ATTEMPTS, POLL_SECONDS, Worker, WorkerPool
from spaces.errors import one_line

_CHECKED_EVERY: Final = 10  # finished trials
_REJECTIONS_IN_A_ROW: Final = 100  # a search goes on even if only one model in 50 is accepted
_SUSPENDED_SECONDS: Final = 30.0  # a longer gap between two looks at the clock is a suspension


class Coordinator:
    """Runs a study until it holds its number of trials.

    Args:
        settings: Settings of the search.
        study: A study that this process holds.
        engine: Proposes trials.
        workers: Train them.
        artifacts: Holds the files of trials.
        checkpoints: Holds trainings that other trials may continue.
        display: Shows the progress.
        clock: Returns the seconds that count against `--trial-timeout`.
        started: `time.monotonic()` at the start of the run; None: now.
        time_left: Time estimator that has seen no trials yet; None: estimate from trials alone.
        on_ready: Called once, when a worker has accepted the space and the data.
    """

    def __init__(
        self,
        settings: SearchSettings,
        study: optuna.Study,
        engine: Engine,
        workers: WorkerPool,
        artifacts: Artifacts,
        checkpoints: Checkpoints,
        display: Display,
        clock: Callable[[], float] = time.monotonic,
        started: float | None = None,
        time_left: TimeLeft | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._study = study
        self._engine = engine
        self._workers = workers
        self._artifacts = artifacts
        self._checkpoints = checkpoints
        self._display = display
        self._awake = clock
        self._seen_awake = clock()
        self._suspended_seconds = 0.0
        self._on_ready: Callable[[], None] | None = on_ready
        self._running: dict[Worker, Attempt] = {}
        self._started = time.monotonic() if started is None else started
        self._stopped_by: StopReason | None = None
        self._failures_in_a_row = 0
        self._rejections_in_a_row = 0
        self._last_failure = self._last_rejection = ""
        self._unusable = ""  # why a report could not use the models; said once
        self._exhausted = False
        self._front: list[FrozenTrial] = []
        self._said: set[str] = set()  # names of checks that were reported
        self._inbox = Inbox(study)
        self.progress = Progress(
            target=settings.trials,
            max_epochs=settings.max_epochs,
            measured=settings.objectives.names[0],
        )
        self._count()
        # Trials of earlier runs with other limits may exceed the limits of this one.
        best = best_trial(study, settings.limits)
        if best is not None:
            self.progress.best = (best.number, value_of(best))
        self._read_front()
        self._since_best = self._finished_since_best()
        self._time_left = time_left or TimeLeft(_plan_of(settings), None)
        self._first_waiting = 0
        for trial in study.get_trials(deepcopy=False):
            is_first = known_as(trial) is not None
            self._first_waiting += is_first and trial.state == TrialState.WAITING
            if trial.state in FINISHED and "seconds" in trial.user_attrs:
                self._time_left.take(trial.user_attrs["seconds"], is_first=is_first)

    @property
    def seconds_left(self) -> float | None:
        """Expected time until the study holds its trials; None while nothing is known of it."""
        running = [attempt.as_running(self._clock()) for attempt in self._running.values()]
        waiting = max(0, self._settings.trials - self.progress.finished - len(running))
        return self._time_left.seconds(
            waiting=waiting,
            waiting_first=min(waiting, self._first_waiting),
            running=running,
            workers=max(1, min(self._workers.count, waiting + len(running))),
        )

    def stop(self, reason: StopReason) -> None:
        """End the search soon; running trials wait for the next run. Safe in a signal handler."""
        self._stopped_by = reason

    def run(self) -> StopReason | None:
        """Search until there is a reason to stop.

        Returns:
            The reason; None if the study holds all its trials.

        Raises:
            SearchError: The search cannot go on; no trial is left running.
            OSError, OptunaError: The storage cannot be read or written.
            StorageError: The database is away, and the wait for it has ended; or the study was
                deleted.
        """
        try:
            while self.progress.finished < self._settings.trials:
                if (reason := self._reason_to_stop()) is not None:
                    return reason
                self._take_request()
                if self._stopped_by is not None:
                    continue
                if not self.progress.paused:
                    self._hand_out()
                self._say_ready()
                for worker, message in self._workers.poll(POLL_SECONDS):
                    with self._ends_from_outside(worker):
                        self._handle(worker, message)
                self._clock()
                for worker in list(self._running):
                    with self._ends_from_outside(worker):
                        self._enforce_limits(worker)
                self._show()
            return None
        except (OSError, OptunaError, StorageError):
            # After a failed write, another could do damage; the next run requeues the trials.
            self._running.clear()
            raise
        except KeyError as error:  # Optuna's, for a study that is not there
            if not self._is_deleted():
                raise
            self._running.clear()
            raise StorageError(
                f"study {self._study.study_name!r} was deleted during the run, in a writable "
                "dashboard or by another program; its trials are gone. Repeat the command to start "
                "a new study."
            ) from error
        finally:
            self._workers.close()
            for attempt in self._running.values():
                with contextlib.suppress(UpdateFinishedTrialError):
                    self._engine.requeue(attempt.trial)
            self._running.clear()

    def _is_deleted(self) -> bool:
        try:
            # Another study may have its name now, and in SQLite even its id.
            return "space" not in self._study.user_attrs
        except KeyError:
            return True

    def _reason_to_stop(self) -> StopReason | None:
        if self._stopped_by is not None:
            return self._stopped_by
        limit = self._settings.timeout_seconds
        if limit is not None and time.monotonic() - self._started >= limit:
            return StopReason.TIMEOUT
        patience = self._settings.patience_trials
        if patience is not None and self._since_best >= patience:
            return StopReason.PATIENCE
        if not self._exhausted:
            return None
        if self.progress.finished:
            return StopReason.EXHAUSTED
        if self._last_failure:
            raise SearchError(
                f"every configuration of the space has failed; last reason: {self._last_failure}. "
                "Fix the cause, then run the same command again."
            )
        raise SearchError(
            "every configuration of the space was rejected; last reason: "
            f"{self._last_rejection}. {self._advice_on_rejections()}"
        )

    def _advice_on_rejections(self) -> str:
        limits = self._settings.limits
        advice = f"Raise {limits.flags}, or search" if limits.given else "Search"
        return f"{advice} another --space."

    def _take_request(self) -> None:
        """Follow a request that another process wrote into the study."""
        request = self._inbox.look()
        if request == STOP:
            self.stop(StopReason.REQUESTED)
        elif self.progress.paused != (request == PAUSE):
            self.progress.paused = request == PAUSE
            self._display.note(
                "paused by a request: running trials finish, no new one starts; --resume continues"
                if self.progress.paused
                else "resumed by a request"
            )

    def _say_ready(self) -> None:
        if self._on_ready and any(worker.ready for worker in self._workers.started):
            self._on_ready()
            self._on_ready = None

    def _hand_out(self) -> None:
        missing = self._settings.trials - self.progress.finished
        self._workers.start(missing)
        for worker in self._workers.idle(self._running):
            if len(self._running) >= missing:
                return
            trial = self._engine.ask()
            if trial is None:
                # The end of a running trial may lead to another proposal.
                self._exhausted = not self._running
                return
            self._start(worker, trial)

    def _start(self, worker: Worker, trial: optuna.Trial) -> None:
        seed = trial_seed(self._settings.seed, trial.number)
        is_first = known_as(trial) is not None
        budget, checkpoint = self._budget(trial)
        self._running[worker] = Attempt(
            trial=trial,
            budget=budget,
            started=self._clock(),
            shown=RunningTrial(trial.number),
            attrs={"seed": seed},
            losses=list(trial.user_attrs.get("attempts", [])),
            objectives=self._settings.objectives,
            is_first=is_first,
            suspended_seconds=self._suspended_seconds,
        )
        self._first_waiting -= is_first
        worker.send(
            Train(
                number=trial.number,
                seed=seed,
                max_epochs=self._settings.max_epochs,
                epochs=budget.epochs,
                initial_epoch=budget.initial_epoch,
                checkpoint=checkpoint,
                keep_checkpoint=budget.epochs < self._settings.max_epochs,
                epoch_size=self._settings.epoch_size,
                objective=self._settings.objectives.maximized,
                costs=self._settings.measured_costs,
            )
        )

    def _budget(self, trial: optuna.Trial) -> tuple[Budget, bytes | None]:
        budget = self._engine.budget(trial, self._checkpoints)
        if budget.parent is None:
            return budget, None
        if not budget.initial_epoch:
            self._display.log(
                f"trial {trial.number}: the checkpoint of trial {budget.parent} is gone; it starts "
                "from epoch 1"
            )
            return budget, None
        return budget, self._checkpoints.load(budget.parent)

    def _handle(self, worker: Worker, message: Message) -> None:
        if (attempt := self._running.get(worker)) is None:
            return
        match message:
            case Suggest(name, distribution):
                worker.send(Answer(self._engine.suggest(attempt.trial, name, distribution)))
            case Built():
                worker.send(Answer(self._is_wanted(attempt, message)))
            case Timed():
                attempt.take_times(message)
                worker.send(Answer(self._is_within_limits(attempt)))
            case Epoch():
                worker.send(Answer(self._is_over(attempt, message)))
            case Trained():
                self._finish(attempt, message)
            case Failed():
                self._fail(attempt, attempt.rejected or message.reason, message.traceback)
            case Died(reason):
                self._try_again(attempt, reason)
        if isinstance(message, Trained | Failed | Died):
            del self._running[worker]

    @contextlib.contextmanager
    def _ends_from_outside(self, worker: Worker) -> Iterator[None]:
        # A user may press "Fail trial" in a writable dashboard.
        attempt = self._running.get(worker)
        try:
            yield
        except UpdateFinishedTrialError:
            assert attempt is not None
            self._running.pop(worker, None)
            self._workers.replace(worker)
            with contextlib.suppress(UpdateFinishedTrialError):
                self._engine.fail(attempt.trial)
            self._count()
            self._read_front()
            self._display.log(
                f"trial {attempt.number}: ended by another program, such as the dashboard"
            )

    def _is_wanted(self, attempt: Attempt, built: Built) -> bool:
        self._engine.learn(attempt.trial, built.space)
        attempt.take_model(built)
        if built.unusable and not self._unusable:
            self._unusable = built.unusable
            self._display.note(f"trial {attempt.number}: {built.unusable}")
        twin = self._engine.duplicate_of(attempt.trial, may_ask_more=built.may_ask_more)
        if twin is not None:
            attempt.rejected = f"the same configuration as trial {twin}"
            attempt.attrs["duplicate_of"] = twin
            return False
        if not self._is_within_limits(attempt):
            return False
        attempt.save_note("still running")
        return True

    def _is_within_limits(self, attempt: Attempt) -> bool:
        """Return whether the costs known so far are within the limits; store the excesses.

        The stored values are for dashboards: samplers judge all trials by the limits of their run.
        """
        limits = self._settings.limits
        if not limits.given:
            return True
        told = attempt.trial.constraints
        for name, excess in limits.excesses(attempt.costs).items():
            if name not in told:  # by an earlier attempt
                attempt.trial.set_constraint(name, excess)
        attempt.rejected = limits.refusal(attempt.costs)
        return not attempt.rejected

    def _is_over(self, attempt: Attempt, epoch: Epoch) -> bool:
        attempt.take_epoch(epoch)
        stop = self._engine.report(attempt.trial, epoch.number, attempt.value)
        # A trial that reaches its last epoch is complete.
        attempt.pruned = stop and epoch.number < attempt.budget.epochs
        return attempt.pruned

    def _finish(self, attempt: Attempt, trained: Trained) -> None:
        self._engine.learn(attempt.trial, trained.space)
        if trained.checkpoint is not None:
            self._checkpoints.save(attempt.number, trained.checkpoint)
        elapsed_seconds = self._clock() - attempt.started
        attempt.take_end(trained, elapsed_seconds, self._suspended_seconds)
        attempt.attach_files(self._artifacts, trained)
        self._time_left.take(attempt.attrs["seconds"], is_first=attempt.is_first)
        # At an early budget, the accuracy is not comparable with that of trials that ran on.
        at_budget = not attempt.pruned and attempt.budget.epochs < self._settings.max_epochs
        ended = attempt.ending(at_budget=at_budget)
        attempt.record(f"{ended}, {self._settings.objectives.words} {attempt.value:.2%}")
        if attempt.pruned or at_budget:
            self._engine.prune(attempt.trial)
            self.progress.pruned += 1
        else:
            values = attempt.values
            self._engine.complete(attempt.trial, values if values[1:] else attempt.value)
            self.progress.complete += 1
            if self._settings.objectives.several:
                self._take_into_front(attempt)
            elif self.progress.best is None or attempt.value > self.progress.best[1]:
                self.progress.best = (attempt.number, attempt.value)
        self._since_best = self._finished_since_best()
        self._failures_in_a_row = self._rejections_in_a_row = 0
        self._display.log(
            f"trial {_label(attempt)}: {ended}, {self.progress.measured} "
            f"{attempt.value:.4f}, {self._costs_words(attempt)}"
            f"{attempt.epochs_words(self._settings.max_epochs)}, "
            f"{attempt.attrs['seconds']:.0f} s"
        )
        self._checkpoints.keep_only(self._engine.promotable())
        if self.progress.finished % _CHECKED_EVERY == 0:
            self._check_health()

    def _costs_words(self, attempt: Attempt) -> str:
        """Return the costs that the search minimizes or limits, each followed by a comma."""
        settings, costs = self._settings, attempt.costs
        names = dict.fromkeys((*settings.objectives.minimized, *settings.limits.given))
        return "".join(f"{COSTS[name].shown(costs[name])}, " for name in names)

    def _check_health(self) -> None:
        trials = self._study.get_trials(deepcopy=False)
        for finding in findings(Trials(trials, self._study.user_attrs)):
            if finding.check.name not in self._said:
                self._said.add(finding.check.name)
                self._display.log(f"check: {finding}")

    def _fail(self, attempt: Attempt, reason: str, traceback: str = "") -> None:
        attempt.attrs["reason"] = reason
        if traceback:
            attempt.attrs["traceback"] = traceback
        attempt.attach_files(self._artifacts)
        attempt.record(f"failed: {reason}")
        self._engine.fail(attempt.trial)
        self.progress.failed += 1
        self._display.log(f"trial {_label(attempt)}: failed, {reason}")
        if attempt.rejected:
            if "duplicate_of" not in attempt.attrs:
                self._last_rejection = reason
            self._rejections_in_a_row += 1
            if self._rejections_in_a_row >= _REJECTIONS_IN_A_ROW:
                raise SearchError(
                    f"{self._rejections_in_a_row} models in a row were rejected; last reason: "
                    f"{reason}. {self._advice_on_rejections()}"
                )
            return
        self._last_failure = reason
        self._rejections_in_a_row = 0
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= self._settings.max_failures:
            if traceback:
                self._display.note(traceback)
            raise SearchError(
                f"{self._failures_in_a_row} trials failed in a row; last reason: {reason}. Fix the "
                "cause, then run the same command again (--max-failures allows more)."
            )

    def _try_again(self, attempt: Attempt, reason: str) -> None:
        attempt.losses.append(reason)
        attempt.attrs["attempts"] = attempt.losses
        if len(attempt.losses) >= ATTEMPTS:
            reasons = list(dict.fromkeys(attempt.losses))
            words = f"{reason}, {ATTEMPTS} times"
            self._fail(attempt, words if len(reasons) == 1 else f"lost: {'; '.join(reasons)}")
            return
        attempt.trial.set_user_attr("attempts", attempt.losses)
        self._engine.requeue(attempt.trial)
        self._first_waiting += attempt.is_first
        self._display.log(f"trial {attempt.number}: {reason}; requeued")

    def _clock(self) -> float:
        """Return seconds that stand still while this process is suspended (laptop, Ctrl-Z).

        To notice that, it is called several times a second.
        """
        now = self._awake()
        if now - self._seen_awake > _SUSPENDED_SECONDS:
            self._suspended_seconds += now - self._seen_awake
        self._seen_awake = now
        return now - self._suspended_seconds

    def _enforce_limits(self, worker: Worker) -> None:
        attempt = self._running[worker]
        limit, memory_mb = self._settings.trial_timeout_seconds, self._settings.max_worker_memory_mb
        if limit is not None and self._clock() - attempt.started > limit:
            self._take_back(worker)
            self._fail(attempt, f"timeout: longer than --trial-timeout {limit:g} s")
        elif memory_mb is not None and worker.memory_mb > memory_mb:
            reason = (
                f"out of memory: the worker uses {worker.memory_mb:,.0f} MB, above "
                f"--max-worker-memory {memory_mb:g}"
            )
            self._take_back(worker)
            # The memory of a worker that trained before may be due to earlier trials.
            (self._fail if worker.trials == 1 else self._try_again)(attempt, reason)

    def _take_back(self, worker: Worker) -> None:
        del self._running[worker]
        self._workers.replace(worker)

    def _count(self) -> None:
        states = count_states(self._study)
        self.progress.complete = states[TrialState.COMPLETE]
        self.progress.pruned = states[TrialState.PRUNED]
        self.progress.failed = states[TrialState.FAIL]

    def _read_front(self) -> None:
        if self._settings.objectives.several:
            self._show_front(front_of(self._study, self._settings.limits))

    def _take_into_front(self, attempt: Attempt) -> None:
        """Update the front with one trial: sorting all trials each time would be slow."""
        trial = self._study.get_trials(deepcopy=False)[attempt.number]
        self._show_front(front([*self._front, trial]))

    def _show_front(self, trials: list[FrozenTrial]) -> None:
        self._front = trials
        self.progress.front = len(trials)
        if trials:  # the most accurate, and of equals one that no other dominates
            self.progress.best = (trials[0].number, value_of(trials[0]))

    def _show(self) -> None:
        progress = self.progress
        progress.running = [attempt.shown for attempt in self._running.values()]
        now = time.monotonic()
        progress.seconds = now - self._started
        expected = self.seconds_left
        estimates = [] if expected is None else [expected]
        if self._settings.timeout_seconds is not None:
            estimates.append(max(0.0, self._settings.timeout_seconds - progress.seconds))
        progress.seconds_left = min(estimates, default=None)
        self._display.update(progress)

    def _finished_since_best(self) -> int:
        if self._settings.objectives.several:
            last = max((trial.number for trial in self._front), default=None)
            return finished_since(self._study, last)
        best = self.progress.best
        return finished_since(self._study, None if best is None else best[0])


def _plan_of(settings: SearchSettings) -> Plan:
    # There is no speed, so the numbers of images have no effect.
    return Plan(
        trials=settings.trials,
        first=0,
        epochs=settings.max_epochs,
        epoch_size=1,
        val=1,
        pruner=settings.pruner_used,
        has_budgets=settings.has_budgets,
    )


def _label(attempt: Attempt) -> str:
    """Return the number of a trial, and after it the name of its configuration if it has one."""
    return f"{attempt.number} ({one_line(attempt.name)})" if attempt.name else str(attempt.number)
