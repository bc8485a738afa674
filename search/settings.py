"""What a search is asked to do: one frozen dataclass that checks itself."""

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from search.data.split import SplitSizes
from search.errors import SettingsError

ENGINES: Final = ("optuna", "keras-tuner")
SAMPLERS: Final = ("tpe", "random", "gp", "cmaes", "qmc", "grid")
TUNERS: Final = ("hyperband", "bayesian", "random", "grid")
PRUNERS: Final = ("hyperband", "asha", "median", "none")
PRECISIONS: Final = ("auto", "float32", "bfloat16")


def check_choice(flag: str, value: str, allowed: Iterable[str]) -> None:
    """Refuse a value that is not allowed, naming the nearest one that is.

    Raises:
        SettingsError: `value` is not in `allowed`.
    """
    choices = tuple(allowed)
    if value in choices:
        return
    nearest = difflib.get_close_matches(value, choices, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise SettingsError(f"{flag} {value!r} is unknown; use one of {', '.join(choices)}.{hint}")


def is_server(storage: str | None) -> bool:
    """Whether the URL is of a database on a server, which several processes may share."""
    return storage is not None and not storage.startswith("sqlite")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """One search, as the command line describes it.

    Args:
        trials: Finished trials (complete or pruned) that the study shall hold in total.
        max_epochs: Most epochs of one trial.
        timeout_seconds: Time for the whole search; None: no limit.
        workers: Worker processes; None: one for each core, or for each GPU.
        seed: Everything random in the search derives from it.
        study: Name of the study; None: the name of the space.
        results_dir: Holds one folder for each study.
        storage: URL of a database; None: a journal file in the study's folder.
        join: Whether to help other coordinators that search the study; on a server only.
        data_dir: Folder of the IDX files; None: looked for where the README says.
        train_size: Training images; None: all that validation leaves.
        val_size: Validation images.
        space: Name of a built-in space, or `package.module:ClassName`.
        engine: Who proposes configurations.
        sampler: How Optuna proposes; None: `tpe`, if it is the engine.
        tuner: How KerasTuner proposes; None: `hyperband`, if it is the engine.
        pruner: What stops a trial early.
        precision: `auto` takes bfloat16 where the hardware has units for it.
        max_params: Models with more parameters are rejected before training; None: no limit.
        patience_trials: Stop when so many finished trials in a row did not improve; None: never.
        trial_timeout_seconds: A trial that takes longer is stopped and fails; None: no limit.
        max_worker_memory_mb: A worker above it is replaced; None: no limit.
        max_failures: Failed trials in a row after which the search stops.
        cluster: Address of a Ray cluster whose nodes train; None: this machine does.
        cpus_per_trial: Cores that a cluster's worker holds; fractions share one; None: 1.
        gpus_per_trial: GPUs that it holds; None: 0.
        baselines: Whether the published baselines are the first trials.

    Raises:
        SettingsError: A value is out of its range; the message names the flag.
    """

    trials: int = 50
    max_epochs: int = 8
    timeout_seconds: float | None = None
    workers: int | None = None
    seed: int = 0
    study: str | None = None
    results_dir: Path = Path("results")
    storage: str | None = None
    join: bool = False
    data_dir: Path | None = None
    train_size: int | None = None
    val_size: int = 10_000
    space: str = "cnn"
    engine: str = "optuna"
    sampler: str | None = None
    tuner: str | None = None
    pruner: str = "hyperband"
    precision: str = "auto"
    max_params: int | None = None
    patience_trials: int | None = None
    trial_timeout_seconds: float | None = None
    max_worker_memory_mb: float | None = None
    max_failures: int = 5
    cluster: str | None = None
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
    baselines: bool = True

    def __post_init__(self) -> None:
        check_choice("--engine", self.engine, ENGINES)
        if self.sampler is not None:
            check_choice("--sampler", self.sampler, SAMPLERS)
            if self.engine != "optuna":
                raise SettingsError(
                    f"--sampler is {self.sampler!r}, but --engine is {self.engine!r}; give "
                    "--tuner in its place."
                )
        if self.tuner is not None:
            check_choice("--tuner", self.tuner, TUNERS)
            if self.engine != "keras-tuner":
                raise SettingsError(
                    f"--tuner is {self.tuner!r}, but --engine is {self.engine!r}; add --engine "
                    "keras-tuner, or leave it out."
                )
        check_choice("--pruner", self.pruner, PRUNERS)
        has_budgets = self.engine == "keras-tuner" and self.algorithm == "hyperband"
        if has_budgets and self.pruner not in ("hyperband", "none"):
            raise SettingsError(
                f"--pruner is {self.pruner!r}, but KerasTuner's hyperband has epoch budgets in its "
                "place; leave it out, or choose another --tuner."
            )
        check_choice("--precision", self.precision, PRECISIONS)
        for flag, number in (
            ("--trials", self.trials),
            ("--epochs", self.max_epochs),
            ("--timeout", self.timeout_seconds),
            ("--workers", self.workers),
            ("--train-size", self.train_size),
            ("--val-size", self.val_size),
            ("--max-params", self.max_params),
            ("--patience-trials", self.patience_trials),
            ("--trial-timeout", self.trial_timeout_seconds),
            ("--max-worker-memory", self.max_worker_memory_mb),
            ("--max-failures", self.max_failures),
            ("--cpus-per-trial", self.cpus_per_trial),
        ):
            if number is not None and not number > 0:
                raise SettingsError(f"{flag} is {number}; it must be above 0.")
        if self.join:
            self._check_join()
        if self.seed < 0:
            raise SettingsError(f"--seed is {self.seed}; it must be 0 or more.")
        if self.gpus_per_trial is not None and not self.gpus_per_trial >= 0:
            raise SettingsError(f"--gpus-per-trial is {self.gpus_per_trial}; it must be 0 or more.")
        for flag, share in (
            ("--cpus-per-trial", self.cpus_per_trial),
            ("--gpus-per-trial", self.gpus_per_trial),
        ):
            if share is None:
                continue
            if self.cluster is None:
                raise SettingsError(f"{flag} is {share:g}, but there is no --cluster; add it.")
            if not math.isfinite(share):
                raise SettingsError(f"{flag} is {share:g}; it must be a number.")
        gpus = self.gpus_per_trial or 0.0
        if gpus > 1 and gpus != int(gpus):
            raise SettingsError(f"--gpus-per-trial is {gpus:g}; above 1 it must be whole.")
        name = self.study_name
        if name in (".", "..") or any(mark in name for mark in "/\\\0") or not name.strip():
            raise SettingsError(
                f"--study {name!r} cannot name a folder; use letters, digits, '-', '_' and '.'."
            )

    def _check_join(self) -> None:
        if not is_server(self.storage):
            file = "a journal file" if self.storage is None else "an SQLite file"
            raise SettingsError(
                f"--join needs a database on a server, but --storage is {file}, which one process "
                "searches; add --storage postgresql://user@host/database, or leave --join out."
            )
        if self.engine != "optuna":
            raise SettingsError(
                f"--join needs --engine optuna, but --engine is {self.engine!r}: only one process "
                "can keep what KerasTuner's oracles remember. Leave --join out, or use optuna."
            )

    @property
    def algorithm(self) -> str:
        """How the engine proposes: the name of Optuna's sampler or of KerasTuner's tuner."""
        given, names = (self.sampler, SAMPLERS) if self.engine == "optuna" else (self.tuner, TUNERS)
        return given or names[0]

    @property
    def split(self) -> SplitSizes:
        """Sizes of the training and the validation part."""
        return SplitSizes(train=self.train_size, val=self.val_size)

    @property
    def study_name(self) -> str:
        """Name of the study and of its folder."""
        return self.space.replace(":", ".") if self.study is None else self.study

    @property
    def study_dir(self) -> Path:
        """Absolute path of the study's folder."""
        return self.results_dir.resolve() / self.study_name
