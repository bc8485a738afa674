"""The coordinator: the only process that writes the study.

It hands trials to workers, answers what they ask, records what they say, and decides when to stop.
It needs no TensorFlow; only KerasTuner's engine brings it in.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import optuna
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.trial import TrialState
from optuna_dashboard import save_note

from search.display import Display, Progress, RunningTrial
from search.engines.engine import Budget, Engine
from search.errors import SearchError, StorageError
from search.settings import SearchSettings
from search.study.artifacts import NOTED_TRIALS, Artifacts, Checkpoints, trial_note
from search.study.study import FINISHED, best_trial, count_states, trial_seed
from search.workers.messages import (
    Answer,
    Built,
    Died,
    Epoch,
    Failed,
    Message,
    Suggest,
    Train,
    Trained,
)
from search.workers.pool import Worker, WorkerPool

_ATTEMPTS: Final = 3  # a trial that loses this many workers is to blame itself
_REJECTIONS_IN_A_ROW: Final = 100  # a limit that one model in 50 meets ends no search
_POLL_SECONDS: Final = 0.25


@dataclass(slots=True)
class _Run:
    """A trial in the hands of a worker."""

    trial: optuna.Trial
    started: float
    budget: Budget
    shown: RunningTrial
    attempts: list[str]
    baseline: str | None
    attrs: dict[str, Any] = field(default_factory=dict)
    description: str = ""
    summary: str = ""
    history: list[dict[str, float]] = field(default_factory=list)
    rejected: str = ""
    pruned: bool = False


class Coordinator:
    """Runs a study up to its number of trials.

    Args:
        settings: What was asked for.
        study: The study, opened and checked.
        engine: Who proposes.
        workers: Who trains.
        artifacts: Where the pictures of trials go.
        checkpoints: Where trainings wait that other trials may go on with.
        display: Who shows it.
        clock: Returns seconds that count against `--trial-timeout`.
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
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._study = study
        self._engine = engine
        self._workers = workers
        self._artifacts = artifacts
        self._checkpoints = checkpoints
        self._display = display
        self._runs: dict[Worker, _Run] = {}
        self._started = time.monotonic()
        self._stopped_by = ""
        self._failures_in_a_row = 0
        self._rejections_in_a_row = 0
        self._exhausted = False
        self._last_failure = ""
        self._since_best = 0
        self.progress = Progress(target=settings.trials, max_epochs=settings.max_epochs)
        self._count()
        self._find_best()
        self._finished_before = self.progress.finished

    def stop(self, reason: str) -> None:
        """End the search soon: running trials wait for the next run. Safe in a signal handler."""
        self._stopped_by = reason

    def run(self) -> str:
        """Search until there is a reason to stop.

        Returns:
            The reason, in words; empty if the study holds all its trials.

        Raises:
            SearchError: Nothing sensible can be done any more; the study is left clean.
            OSError: The journal cannot be written.
            OptunaError: The storage cannot be read or written.
            StorageError: It is away, and waiting for it was stopped.
        """
        try:
            while not (reason := self._reason_to_stop()):
                if self.progress.finished >= self._settings.trials:
                    return ""
                self._hand_out()
                for worker, message in self._workers.poll(_POLL_SECONDS):
                    with self._ends_from_outside(worker):
                        self._handle(worker, message)
                for worker in list(self._runs):
                    with self._ends_from_outside(worker):
                        self._enforce_limits(worker)
                self._show()
            return reason
        except (OSError, OptunaError, StorageError):
            # Another write could spoil what a failed one has left; the next run finds the trials.
            self._runs.clear()
            raise
        finally:
            self._workers.close()
            for run in self._runs.values():
                with contextlib.suppress(UpdateFinishedTrialError):
                    self._engine.requeue(run.trial)
            self._runs.clear()

    def _reason_to_stop(self) -> str:
        if self._stopped_by:
            return self._stopped_by
        limit = self._settings.timeout_seconds
        if limit is not None and time.monotonic() - self._started >= limit:
            return f"--timeout {limit:g} s is over"
        patience = self._settings.patience_trials
        if patience is not None and self._since_best >= patience:
            return f"no better trial among the last {patience} (--patience-trials)"
        if self._exhausted:
            if not self.progress.finished:
                raise SearchError(
                    f"every configuration of the space has failed, the last: {self._last_failure}. "
                    "Mend the cause, then run the same command again."
                )
            return "every configuration of the space has been tried"
        return ""

    def _hand_out(self) -> None:
        missing = self._settings.trials - self.progress.finished
        self._workers.start(missing)
        for worker in self._workers.idle(self._runs):
            if len(self._runs) >= missing:
                return
            trial = self._engine.ask()
            if trial is None:
                # What still runs may yet give rise to another.
                self._exhausted = not self._runs
                return
            seed = trial_seed(self._settings.seed, trial.number)
            budget, checkpoint = self._budget(trial)
            self._runs[worker] = _Run(
                trial,
                started=self._clock(),
                budget=budget,
                shown=RunningTrial(trial.number),
                attempts=list(trial.user_attrs.get("attempts", [])),
                baseline=trial.user_attrs.get("baseline"),
                attrs={"seed": seed},
            )
            order = Train(
                number=trial.number,
                seed=seed,
                max_epochs=self._settings.max_epochs,
                epochs=budget.epochs,
                initial_epoch=budget.initial_epoch,
                checkpoint=checkpoint,
                keep_checkpoint=budget.epochs < self._settings.max_epochs,
            )
            worker.send(order)

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
        run = self._runs.get(worker)
        if run is None:
            return
        match message:
            case Suggest(name, distribution):
                worker.send(Answer(self._engine.suggest(run.trial, name, distribution)))
            case Built():
                worker.send(Answer(self._is_wanted(run, message)))
            case Epoch(epoch, metrics):
                worker.send(Answer(self._is_over(run, epoch, metrics)))
            case Trained():
                self._finish(run, message)
                del self._runs[worker]
            case Failed():
                self._fail(run, run.rejected or message.reason, message.traceback)
                del self._runs[worker]
            case Died(reason):
                self._try_again(run, reason)
                del self._runs[worker]

    @contextlib.contextmanager
    def _ends_from_outside(self, worker: Worker) -> Iterator[None]:
        # Somebody may press "Fail trial" in a writable dashboard: that trial is over.
        run = self._runs.get(worker)
        try:
            yield
        except UpdateFinishedTrialError:
            assert run is not None
            self._runs.pop(worker, None)
            self._workers.replace(worker)
            with contextlib.suppress(UpdateFinishedTrialError):
                self._engine.fail(run.trial)
            self._count()
            self._display.log(f"trial {run.trial.number}: ended from outside")

    def _count(self) -> None:
        states = count_states(self._study)
        self.progress.complete = states[TrialState.COMPLETE]
        self.progress.pruned = states[TrialState.PRUNED]
        self.progress.failed = states[TrialState.FAIL]

    def _find_best(self) -> None:
        best = best_trial(self._study)
        self._since_best = _finished_since(self._study, best)
        if best is not None and best.value is not None:
            self.progress.best = (best.number, best.value)

    def _is_wanted(self, run: _Run, built: Built) -> bool:
        run.attrs["parameters"] = built.parameters
        self._engine.learn(run.trial, built.space)
        if built.fixed:
            run.attrs["fixed"] = built.fixed
        run.description, run.summary = built.description, built.summary
        limit = self._settings.max_params
        twin = self._engine.duplicate_of(run.trial)
        if twin is not None:
            run.rejected = f"the same configuration as trial {twin}"
            run.attrs["duplicate_of"] = twin
        elif limit is not None and built.parameters > limit:
            run.rejected = f"{built.parameters:,} parameters, above --max-params {limit:,}"
        else:
            self._take_note(run, "still running")
        return not run.rejected

    def _is_over(self, run: _Run, epoch: int, metrics: dict[str, float]) -> bool:
        value = metrics["val_accuracy"]
        run.history.append(metrics)
        run.shown.epoch, run.shown.val_accuracy = epoch, value
        run.pruned = self._engine.report(run.trial, epoch, value)
        # The last epoch is over anyway: a trial that got so far is complete.
        run.pruned &= epoch < run.budget.epochs
        return run.pruned

    def _finish(self, run: _Run, trained: Trained) -> None:
        # A worker does not know what it waited for.
        trained_seconds = trained.train_seconds + trained.val_seconds
        seconds = min(trained.seconds, max(trained_seconds, self._clock() - run.started))
        run.attrs |= {
            "epochs": trained.epochs,
            "seconds": round(seconds, 3),
            "train_seconds": round(trained.train_seconds, 3),
            "val_seconds": round(trained.val_seconds, 3),
            "images_per_second": round(trained.images_per_second, 1),
        }
        self._engine.learn(run.trial, trained.space)
        value = run.history[-1]["val_accuracy"]
        reached = run.budget.initial_epoch + trained.epochs
        ended = f"pruned after epoch {reached}" if run.pruned else "complete"
        # Its accuracy cannot be compared with that of trials which ran on.
        at_budget = not run.pruned and run.budget.epochs < self._settings.max_epochs
        if at_budget:
            ended = f"its budget of {run.budget.epochs} epochs is over"
        if trained.checkpoint is not None:
            self._checkpoints.save(run.trial.number, trained.checkpoint)
        self._artifacts.add(run.trial, "learning_curve.png", trained.curve_png)
        self._artifacts.add(run.trial, "model.txt", run.summary.encode())
        self._record(run, f"{ended}, validation accuracy {value:.2%}")
        # One that ended at an early budget may yet go on, and shows no lack of progress.
        self._since_best += not at_budget
        if run.pruned or at_budget:
            self._engine.prune(run.trial)
            self.progress.pruned += 1
        else:
            self._engine.complete(run.trial, value)
            self.progress.complete += 1
            if self.progress.best is None or value > self.progress.best[1]:
                self.progress.best = (run.trial.number, value)
                self._since_best = 0
        self._failures_in_a_row = self._rejections_in_a_row = 0
        name = f" ({run.baseline})" if run.baseline else ""
        self._display.log(
            f"trial {run.trial.number}{name}: {ended}, val_accuracy {value:.4f}, "
            f"{reached} of {self._settings.max_epochs} epochs, {seconds:.0f} s"
        )
        self._checkpoints.keep_only(self._engine.promotable())

    def _fail(self, run: _Run, reason: str, traceback: str = "") -> None:
        run.attrs["reason"] = reason
        if traceback:
            run.attrs["traceback"] = traceback
        self._record(run, f"failed: {reason}")
        self._engine.fail(run.trial)
        self.progress.failed += 1
        self._display.log(f"trial {run.trial.number}: failed, {reason}")
        if run.rejected:
            self._rejections_in_a_row += 1
            if self._rejections_in_a_row >= _REJECTIONS_IN_A_ROW:
                raise SearchError(
                    f"{self._rejections_in_a_row} models in a row were rejected, the last: "
                    f"{reason}. Raise --max-params, or search another --space."
                )
            return
        self._last_failure = reason
        self._rejections_in_a_row = 0
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= self._settings.max_failures:
            if traceback:
                self._display.note(traceback)
            raise SearchError(
                f"{self._failures_in_a_row} trials failed in a row, the last: {reason}. Mend the "
                "cause, then run the same command again (--max-failures allows more)."
            )

    def _try_again(self, run: _Run, reason: str) -> None:
        run.attempts.append(reason)
        run.attrs["attempts"] = run.attempts
        if len(run.attempts) >= _ATTEMPTS:
            self._fail(run, f"{reason}, {_ATTEMPTS} times")
            return
        run.trial.set_user_attr("attempts", run.attempts)
        self._engine.requeue(run.trial)
        self._display.log(f"trial {run.trial.number}: {reason}; it will be run again")

    def _record(self, run: _Run, ended: str) -> None:
        run.attrs["ended"] = ended
        if run.history:
            run.attrs["history"] = {
                name: [round(row[name], 6) for row in run.history if name in row]
                for name in run.history[0]
            }
        for name, value in run.attrs.items():
            run.trial.set_user_attr(name, value)
        self._take_note(run, ended)

    def _take_note(self, run: _Run, ended: str) -> None:
        if run.trial.number >= NOTED_TRIALS:
            return
        note = trial_note(
            description=run.description, baseline=run.baseline, ended=ended, attrs=run.attrs
        )
        save_note(run.trial, note)

    def _enforce_limits(self, worker: Worker) -> None:
        run = self._runs[worker]
        limit, memory_mb = self._settings.trial_timeout_seconds, self._settings.max_worker_memory_mb
        if limit is not None and self._clock() - run.started > limit:
            self._take_back(worker)
            self._fail(run, f"timeout: longer than --trial-timeout {limit:g} s")
        elif memory_mb is not None and worker.memory_mb > memory_mb:
            reason = (
                f"out of memory: the worker uses {worker.memory_mb:,.0f} MB, above "
                f"--max-worker-memory {memory_mb:g}"
            )
            fresh = worker.trials == 1
            self._take_back(worker)
            # A worker that has trained before may owe its size to earlier trials.
            after: Callable[[_Run, str], None] = self._fail if fresh else self._try_again
            after(run, reason)

    def _take_back(self, worker: Worker) -> None:
        del self._runs[worker]
        self._workers.replace(worker)

    def _show(self) -> None:
        progress = self.progress
        progress.running = [run.shown for run in self._runs.values()]
        progress.seconds = time.monotonic() - self._started
        done = progress.finished - self._finished_before
        if done:
            left = self._settings.trials - progress.finished
            progress.seconds_left = progress.seconds / done * left
        self._display.update(progress)


def _finished_since(study: optuna.Study, best: optuna.trial.FrozenTrial | None) -> int:
    finished = study.get_trials(deepcopy=False, states=FINISHED)
    if best is None or best.datetime_complete is None:
        return len(finished)
    return sum(
        trial.datetime_complete is not None and trial.datetime_complete > best.datetime_complete
        for trial in finished
    )
