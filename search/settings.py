"""The settings of a search: one frozen dataclass whose fields are the flags of `run_search.py`."""

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from search.command_line.common_flags import (
    config_flag,
    print_config_flag,
    quiet_flag,
    results_dir_flag,
    storage_flag,
    study_flag,
    workers_flag,
)
from search.command_line.flags import (
    LARGEST,
    LARGEST_SIDE,
    MOST_EPOCHS,
    SMALLEST_SIDE,
    STORAGE_VARIABLE,
    check_flags,
    flag,
)
from search.data.split import SplitSizes
from search.engines.pruners import DEFAULT_PRUNER, PRUNERS
from search.engines.samplers import SAMPLERS, Sampler
from search.engines.tuners import TUNERS, Tuner
from search.errors import SettingsError
from search.files import real_path
from search.length import DEFAULT_EPOCHS
from search.on_end import LIMIT_SECONDS, check_on_end
from search.study.names import check_study_name
from search.study.objective import COSTS, OBJECTIVES, Limits, Objectives

ENGINES: Final = ("optuna", "keras-tuner")
DEFAULT_DATA: Final = "fashion_mnist"
_LONGEST_DATA: Final = 60  # characters of a data set's name in that of a study
PRECISIONS: Final = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """One search; each field is described by the help of its flag.

    Raises:
        SettingsError: A value is out of its range, or two do not go together; the message names
            the flag.
    """

    trials: int = flag(
        "--trials",
        50,
        "number of finished trials (complete or pruned) in the study in total",
        metavar="N",
        group="budget",
        above=0,
    )
    minutes: float | None = flag(
        "--minutes",
        None,
        "target time of the whole search in minutes: epochs, and the training images that each "
        "shows, are chosen from the speed measured when the study begins, and kept; with --epochs "
        "or --epoch-size, only the other one is chosen. Not a limit; see --timeout",
        metavar="M",
        above=0,
        at_most=LARGEST,
    )
    epochs: int | None = flag(
        "--epochs",
        None,
        "maximum epochs of a trial",
        shown_default=f"{DEFAULT_EPOCHS}, more for a data set of fewer than 10,000 training "
        "images, or fitted to --minutes",
        metavar="N",
        above=0,
        at_most=MOST_EPOCHS,
    )
    timeout_seconds: float | None = flag(
        "--timeout",
        None,
        "time limit of the whole search; running trials are requeued and start again in the next "
        "run",
        metavar="SECONDS",
        above=0,
    )
    patience_trials: int | None = flag(
        "--patience-trials",
        None,
        "stop when the last K finished trials did not improve the best",
        metavar="K",
        above=0,
    )
    max_params: int | None = flag(
        "--max-params",
        None,
        "reject models with more parameters before training; 100 rejections in a row end the "
        "search",
        metavar="N",
        above=0,
        at_most=LARGEST,
    )
    max_flops: int | None = flag(
        "--max-flops",
        None,
        "reject models with more FLOPs (twice the multiply-adds for one image) before training",
        metavar="N",
        above=0,
        at_most=LARGEST,
    )
    max_latency_ms: float | None = flag(
        "--max-latency-ms",
        None,
        "reject models with a higher latency for one image, measured before training in a separate "
        "process on one core",
        metavar="MS",
        above=0,
        at_most=LARGEST,
    )
    trial_timeout_seconds: float | None = flag(
        "--trial-timeout",
        None,
        "time limit of a trial; a longer one fails and is replaced",
        metavar="SECONDS",
        above=0,
        at_most=LARGEST,
    )
    max_failures: int = flag(
        "--max-failures", 5, "stop when K trials fail in a row", metavar="K", above=0
    )

    space: str = flag(
        "--space",
        "cnn",
        "search space: cnn, mlp, or package.module:NAME of your class with KerasTuner's build(hp), "
        "or of your function",
        metavar="NAME",
        group="search",
        runs_code=lambda name: ":" in name,
    )
    portfolio: bool = flag(
        "--no-portfolio", True, "do not start with the space's default and other strong recipes"
    )
    baselines: bool = flag(
        "--baselines", False, "train the published baselines too, after the portfolio"
    )
    from_study: str | None = flag(
        "--from",
        None,
        "begin with the best configurations of an earlier study: its name, or its folder; its "
        "data, epochs and ranges may differ",
        metavar="STUDY",
    )
    objective: str = flag(
        "--objective",
        OBJECTIVES[0],
        f"what the search maximizes, {' or '.join(OBJECTIVES)}, then costs that it minimizes, of "
        f"{', '.join(COSTS)}, as in accuracy,parameters (see docs/objectives.md)",
        metavar="NAME[,COST]",
    )
    engine: str = flag(
        "--engine", "optuna", "library that proposes trials", metavar="NAME", choices=ENGINES
    )
    sampler: str | None = flag(
        "--sampler",
        None,
        "Optuna sampler",
        metavar="NAME",
        choices={name: sampler.help for name, sampler in SAMPLERS.items()},
        shown_default=next(iter(SAMPLERS)),
    )
    tuner: str | None = flag(
        "--tuner",
        None,
        "with --engine keras-tuner: its tuner",
        metavar="NAME",
        choices={name: tuner.help for name, tuner in TUNERS.items()},
        shown_default=next(iter(TUNERS)),
    )
    pruner: str | None = flag(
        "--pruner",
        None,
        "what stops trials early",
        metavar="NAME",
        choices={name: pruner.help for name, pruner in PRUNERS.items()},
        shown_default=f"{DEFAULT_PRUNER}; with several objectives, none",
    )
    seed: int = flag("--seed", 0, "random seed", metavar="N", at_least=0, at_most=LARGEST)

    data: str = flag(
        "--data",
        DEFAULT_DATA,
        "data set: fashion_mnist, mnist, cifar10 or cifar100; a folder of image files, as "
        "CLASS/*.jpg or {train,val,test}/CLASS/*.jpg; an .npz file with x_train, y_train, x_test "
        "and y_test; or a folder of IDX files",
        metavar="NAME|PATH",
        group="data",
    )
    image_size: int | None = flag(
        "--image-size",
        None,
        "pixels a side to which the images of a folder or an .npz file are resized",
        shown_default="for a folder the median of the shorter edges, from 16 to 96",
        metavar="N",
        at_least=SMALLEST_SIDE,
        at_most=LARGEST_SIDE,
    )
    mirror: bool | None = flag(
        "--mirror",
        None,
        "mirrored images keep their class, so augmentation may flip them left-right; --no-mirror: "
        "it never does",
        shown_default="known for the named data sets; else the search tries both",
    )
    train_size: int | None = flag(
        "--train-size",
        None,
        "number of training images",
        metavar="N",
        shown_default="all except the validation images",
        above=0,
    )
    epoch_size: int | None = flag(
        "--epoch-size",
        None,
        "number of training images of an epoch; the next epoch uses others",
        metavar="N",
        shown_default="all, or fitted to --minutes",
        above=0,
    )
    val_size: int | None = flag(
        "--val-size",
        None,
        "number of validation images, the same for every trial",
        shown_default="a sixth of the training part, at most 10,000",
        metavar="N",
        above=0,
    )

    workers: int | None = workers_flag(
        group="machine",
        shown_default="one per GPU, else one per core; with --cluster as many as fit",
    )
    precision: str = flag(
        "--precision",
        "auto",
        "number format; auto is bfloat16 where the hardware supports it",
        metavar="NAME",
        choices=PRECISIONS,
    )
    max_worker_memory_mb: float | None = flag(
        "--max-worker-memory",
        None,
        "replace a worker that uses more memory; its trial is requeued, or fails if it was the "
        "worker's first",
        metavar="MB",
        above=0,
    )
    cluster: str | None = flag(
        "--cluster",
        None,
        "train on a Ray cluster: auto (this machine's), HOST:PORT, ray://HOST:PORT, or local "
        "(started for this search)",
        metavar="ADDRESS",
        url=True,
        # Other machines send data that is unpickled here.
        runs_code=lambda address: address not in ("auto", "local"),
    )
    cpus_per_trial: float | None = flag(
        "--cpus-per-trial",
        None,
        "with --cluster: cores per worker; fractions share one",
        shown_default="1",
        metavar="X",
        above=0,
    )
    gpus_per_trial: float | None = flag(
        "--gpus-per-trial",
        None,
        "with --cluster: GPUs per worker; fractions share one",
        shown_default="0",
        metavar="X",
        at_least=0,
    )

    study: str | None = study_flag(
        group="storage",
        shown_default="SPACE, or DATA-SPACE for data other than the default",
    )
    results_dir: Path = results_dir_flag()
    storage: str | None = storage_flag(
        help="database for the trials: sqlite:///..., postgresql://... or mysql+pymysql://...; "
        f"for a URL with a password set ${STORAGE_VARIABLE} instead, which other users cannot "
        "see in the process list",
        shown_default=f"${STORAGE_VARIABLE}, or a journal file in the study's folder",
    )

    config: Path | None = config_flag()
    print_config: bool = print_config_flag()

    stop: bool = flag(
        "--stop",
        False,
        "stop the running search of the study, like Ctrl-C; repeat its command to resume",
        group="from another terminal",
        once=True,
        starts_nothing=True,
    )
    pause: bool = flag(
        "--pause",
        False,
        "pause the running search: running trials finish, no new trial starts",
        once=True,
        starts_nothing=True,
    )
    resume: bool = flag("--resume", False, "resume a paused search", once=True, starts_nothing=True)
    enqueue: str | None = flag(
        "--enqueue",
        None,
        "try a configuration next, in a running or stopped search: a JSON object of "
        "hyperparameters, those left out have their defaults",
        metavar="JSON",
        once=True,
    )

    dashboard: bool = flag(
        "--dashboard",
        False,
        "serve optuna-dashboard on 127.0.0.1 while the search runs, read-only",
        group="output",
    )
    dashboard_only: bool = flag(
        "--dashboard-only",
        False,
        "serve the dashboard until Ctrl-C, without a search: all studies of the results folder or "
        "database; with --study, that study of the results folder, or all of the database that "
        "holds it",
        once=True,
        starts_nothing=True,
    )
    dashboard_port: int | None = flag(
        "--dashboard-port",
        None,
        "dashboard port",
        shown_default="8080, or any free one",
        metavar="PORT",
        at_least=0,
        at_most=65535,
    )
    dashboard_host: str | None = flag(
        "--dashboard-host",
        None,
        "address or name of this machine on which the dashboard listens, visible to every host "
        "that can reach it; 0.0.0.0 listens at all addresses and answers to loopback names, for "
        "containers",
        shown_default="127.0.0.1",
        metavar="HOST",
    )
    dashboard_writable: bool = flag(
        "--dashboard-writable",
        False,
        "let the dashboard edit and delete all that it shows; it has no authentication; with "
        "--dashboard-only it also needs --study",
    )
    dry_run: bool = flag(
        "--dry-run",
        False,
        "measure the speed, print the plan and the expected time, and stop; creates nothing",
        once=True,
    )
    quiet: bool = quiet_flag()
    json: bool = flag(
        "--json", False, "print the outcome as one JSON object, the last line of standard output"
    )
    on_end: str | None = flag(
        "--on-end",
        None,
        "command to run after the search, even if it was stopped or failed; gets the outcome as "
        f"JSON on standard input; runs without a shell, for at most {LIMIT_SECONDS:g} s",
        metavar="COMMAND",
        url=True,
        runs_code=bool,
    )

    def __post_init__(self) -> None:
        if isinstance(self.results_dir, str):  # as a program may give it
            object.__setattr__(self, "results_dir", Path(self.results_dir))
        check_flags(self)
        # Neither spaces nor the order of costs matter.
        object.__setattr__(self, "objective", Objectives.read(self.objective).text)
        self._check_one_thing()
        self._check_minutes()
        self._check_engine()
        self._check_objectives()
        self._check_first()
        self._check_cluster()
        if self.on_end is not None:
            check_on_end(self.on_end)
        check_study_name(self.study_name)

    def _check_one_thing(self) -> None:
        in_place_of_a_search = {
            "--stop": self.stop,
            "--pause": self.pause,
            "--resume": self.resume,
            "--enqueue": self.enqueue is not None,
            "--dashboard-only": self.dashboard_only,
            "--dry-run": self.dry_run,
        }
        asked = [name for name, is_asked in in_place_of_a_search.items() if is_asked]
        if len(asked) > 1:
            raise SettingsError(f"{' and '.join(asked)} exclude each other; give one of them.")

    @property
    def is_request(self) -> bool:
        """Whether it is a request to the search of another process."""
        return self.stop or self.pause or self.resume or self.enqueue is not None

    def _check_minutes(self) -> None:
        if self.minutes is not None and None not in (self.epochs, self.epoch_size):
            raise SettingsError(
                f"--minutes is {self.minutes:g}, but --epochs {self.epochs} and --epoch-size "
                f"{self.epoch_size} leave nothing to fit to it; leave one of the three out."
            )

    def _check_first(self) -> None:
        if self.takes_first:
            return
        if self.from_study is not None:
            raise SettingsError(
                f"--from is {self.from_study!r}, but {self.algorithm} takes no first "
                "configurations; choose another sampler or tuner, or leave --from out."
            )
        if self.baselines:
            raise SettingsError(
                f"--baselines is given, but {self.algorithm} takes no first "
                "configurations; choose another sampler or tuner, or leave --baselines out."
            )

    def _check_engine(self) -> None:
        if self.sampler is not None and self.engine != "optuna":
            raise SettingsError(
                f"--sampler is {self.sampler!r}, but --engine is {self.engine!r}; use --tuner "
                "instead."
            )
        if self.tuner is not None and self.engine != "keras-tuner":
            raise SettingsError(
                f"--tuner is {self.tuner!r}, but --engine is {self.engine!r}; add --engine "
                "keras-tuner, or leave --tuner out."
            )
        if self.has_budgets and self.pruner not in (None, "hyperband", "none"):
            raise SettingsError(
                f"--pruner is {self.pruner!r}, but KerasTuner's {self.algorithm} uses epoch "
                "budgets instead of a pruner; leave --pruner out, or choose another --tuner."
            )

    def _check_objectives(self) -> None:
        if not self.objectives.several:
            return
        several = f"--objective is {self.objective!r}"
        if self.engine != "optuna":
            raise SettingsError(
                f"{several}, but --engine is {self.engine!r}, whose tuners support one "
                "objective; use --engine optuna, or one objective."
            )
        if not SAMPLERS[self.algorithm].takes_several:
            able = ", ".join(name for name, one in SAMPLERS.items() if one.takes_several)
            raise SettingsError(
                f"{several}, but --sampler {self.algorithm} supports one objective; use one of "
                f"{able}."
            )
        if self.pruner not in (None, "none"):
            raise SettingsError(
                f"{several}, but --pruner is {self.pruner!r}: with several objectives no trial is "
                "pruned, because a less accurate network may be the best for its cost. "
                "Leave --pruner out, or use one objective."
            )

    def _check_cluster(self) -> None:
        for name, share in (
            ("--cpus-per-trial", self.cpus_per_trial),
            ("--gpus-per-trial", self.gpus_per_trial),
        ):
            if share is not None and self.cluster is None:
                raise SettingsError(
                    f"{name} {share:g} needs --cluster; add it, or leave {name} out."
                )
        gpus = self.gpus_per_trial or 0.0
        if gpus > 1 and gpus != int(gpus):
            raise SettingsError(f"--gpus-per-trial is {gpus:g}; above 1 it must be whole.")

    @property
    def algorithm(self) -> str:
        """Name of the sampler or tuner that proposes trials."""
        if self.engine == "optuna":
            return self.sampler or next(iter(SAMPLERS))
        return self.tuner or next(iter(TUNERS))

    @property
    def max_epochs(self) -> int:
        """Maximum epochs of a trial; with `minutes`, meaningless until they are fitted."""
        return DEFAULT_EPOCHS if self.epochs is None else self.epochs

    @property
    def objectives(self) -> Objectives:
        """What the search maximizes, and what it minimizes."""
        return Objectives.read(self.objective)

    @property
    def limits(self) -> Limits:
        """Upper limits on the cost of a network."""
        return Limits.of(asdict(self))

    @property
    def measured_costs(self) -> tuple[str, ...]:
        """Costs that objectives or limits need, keys of `COSTS`."""
        needed = {*self.objectives.minimized, *self.limits.given}
        return tuple(name for name in COSTS if name in needed)

    @property
    def pruner_used(self) -> str:
        """Name of the pruner, a key of `PRUNERS`; epoch budgets are those of Hyperband."""
        if self.has_budgets:
            return "hyperband"
        if self.pruner is not None:
            return self.pruner
        return "none" if self.objectives.several else DEFAULT_PRUNER

    @property
    def has_budgets(self) -> bool:
        """Whether the tuner gives each trial an epoch budget, in place of a pruner."""
        return self.engine == "keras-tuner" and TUNERS[self.algorithm].has_budgets

    @property
    def takes_first(self) -> bool:
        """Whether the algorithm tries given configurations first."""
        algorithms: Mapping[str, Sampler | Tuner]
        algorithms = SAMPLERS if self.engine == "optuna" else TUNERS
        return algorithms[self.algorithm].takes_first

    @property
    def serves_dashboard(self) -> bool:
        """Whether the search serves the dashboard; its other flags imply `--dashboard`."""
        asked = self.dashboard_port is not None or self.dashboard_host is not None
        return self.dashboard or self.dashboard_writable or asked

    @property
    def split(self) -> SplitSizes:
        """Sizes of the training and the validation part; `val_size` is known."""
        assert self.val_size is not None
        return SplitSizes(train=self.train_size, val=self.val_size, epoch_size=self.epoch_size)

    @property
    def study_name(self) -> str:
        """Name of the study and of its folder."""
        if self.study is not None:
            return self.study
        space = self.space.replace(":", ".")
        if self.data == DEFAULT_DATA:
            return space
        # Trials on other data cannot be mixed with these, so the name contains the data.
        data = re.sub(r"[^\w.]+", "-", real_path(os.path.expanduser(self.data)).stem).strip("-.")
        return f"{data[:_LONGEST_DATA]}-{space}" if data else space

    @property
    def study_flags(self) -> list[str]:
        """Flags that name this study to another command."""
        flags = ["--study", self.study_name]
        if self.results_dir != SearchSettings().results_dir:
            flags += ["--results-dir", str(self.results_dir)]
        return flags if self.storage is None else [*flags, "--storage", self.storage]

    @property
    def study_dir(self) -> Path:
        """Absolute path of the study's folder."""
        return real_path(self.results_dir) / self.study_name
