"""The settings of a report: one frozen dataclass whose fields are the flags of `report.py`."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reporting.export import FORMATS, check_formats
from search.command_line.common_flags import (
    config_flag,
    print_config_flag,
    quiet_flag,
    results_dir_flag,
    storage_flag,
    study_flag,
    workers_flag,
)
from search.command_line.flags import LARGEST, STORAGE_VARIABLE, check_flags, flag, flags_of
from search.command_line.parser import called
from search.errors import SettingsError
from search.study.names import check_study_name
from search.study.objective import Limits

if TYPE_CHECKING:
    from search.data.split import SplitSizes  # imports NumPy, for which `--help` need not wait

DEFAULT_EPOCHS: Final = 30
# By `--minutes`: after 49 epochs, the winner of the reference search was less accurate on
# validation images than after 23 (n = 1; benchmarks/README.md).
MOST_FITTED_EPOCHS: Final = 30
FEWEST_FITTED_EPOCHS: Final = 2
# Of --quick, besides --epochs.
_QUICK: Final[dict[str, Any]] = {
    "top": 1,
    "candidate_seeds": 1,
    "seeds": 1,
    "baseline_seeds": 1,
    "baseline_epochs": 2,
}
# Flags that go with --compare.
_COMPARING: Final = ("compare", "results_dir", "storage", "config", "print_config", "quiet")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """One report; each field is described by the help of its flag.

    Raises:
        SettingsError: A value cannot be used; the message names the flag.
    """

    study: str | None = study_flag(group="study", shown_default="the one searched last")
    compare: tuple[str, ...] = flag(
        "--compare",
        (),
        "instead of a report, write one page that compares two or more studies: retrained winners, "
        "costs, settings that differ; trains nothing; writes results/compare/NAME+NAME/",
        metavar="NAME",
        once=True,
    )
    results_dir: Path = results_dir_flag()
    storage: str | None = storage_flag(
        help=f"database of the study, as for {called('run_search.py')}",
        shown_default=f"${STORAGE_VARIABLE}, or the journal file in the study's folder",
    )
    space: str | None = flag(
        "--space",
        None,
        f"your own space, as for {called('run_search.py')}; the report runs its code, so it never "
        "takes the name from the study alone",
        shown_default="the study's, if it is built in",
        metavar="NAME",
        runs_code=lambda name: ":" in name,
    )
    data: str | None = flag(
        "--data",
        None,
        "data set of the search, with its test part",
        shown_default="the one that the study was searched on",
        metavar="NAME|PATH",
    )

    top: int = flag(
        "--top",
        2,
        "number of trials to retrain and choose from: the best ones; with two or more, and without "
        "limits, the default configuration takes the last place unless it is among them. Each is "
        "trained for as long as the winner, as it was and, if it had none, with shifted images. "
        "With a knee, always 1",
        metavar="N",
        group="training",
        at_least=1,
    )
    max_params: int | None = flag(
        "--max-params",
        None,
        "choose the winner among the trials with at most N parameters",
        shown_default="as the search; of a search with several objectives without any limit, the "
        "winner is the knee of the front",
        metavar="N",
        above=0,
        at_most=LARGEST,
    )
    max_flops: int | None = flag(
        "--max-flops",
        None,
        "choose the winner among the trials with at most N FLOPs, where the search has counted "
        "them",
        metavar="N",
        above=0,
        at_most=LARGEST,
    )
    max_latency_ms: float | None = flag(
        "--max-latency-ms",
        None,
        "choose the winner among the trials that take at most MS milliseconds for one image, where "
        "the search has measured them",
        metavar="MS",
        above=0,
        at_most=LARGEST,
    )
    candidate_seeds: int = flag(
        "--candidate-seeds",
        1,
        "new seeds with which each of the --top trials is retrained",
        metavar="N",
        at_least=1,
    )
    seeds: int = flag("--seeds", 3, "seeds of the winner", metavar="N", at_least=1)
    baseline_seeds: int | None = flag(
        "--baseline-seeds",
        None,
        "seeds of every baseline",
        shown_default="as --seeds, or fewer to fit --minutes",
        metavar="N",
        at_least=1,
    )
    train_size: int | None = flag(
        "--train-size",
        None,
        "training images of every training, besides the validation images",
        shown_default="all; with --quick as many as an epoch of the search shows",
        metavar="N",
        at_least=1,
    )
    minutes: float | None = flag(
        "--minutes",
        None,
        "target time of all trainings in minutes: --epochs is chosen from the speed measured by "
        f"the search, at most {MOST_FITTED_EPOCHS} or those of a trial; baselines have fewer seeds "
        "where they would take more than half of the time. Kept when the report is resumed. Not a "
        "limit",
        metavar="M",
        above=0,
        at_most=LARGEST,
    )
    epochs: int | None = flag(
        "--epochs",
        None,
        "epochs of the --top trials and of the winner; learning-rate schedules are stretched",
        shown_default=f"{DEFAULT_EPOCHS}, those of a trial if that is more, or fitted to --minutes",
        metavar="N",
        at_least=1,
    )
    baseline_epochs: int = flag(
        "--baseline-epochs", 10, "epochs of the published baselines", metavar="N", at_least=1
    )
    ensemble: bool = flag("--ensemble", False, "add a row for the average of the winner's seeds")
    averaging: bool = flag(
        "--averaging",
        False,
        "add a row for the winner with averaged weights, unless it averages them already",
    )
    distill: bool = flag(
        "--distill",
        False,
        "add a row for one network of the winner's configuration that is trained on the labels and "
        "on the predictions of the final trainings (knowledge distillation); its cost includes "
        "theirs",
    )
    workers: int | None = workers_flag(shown_default="one per GPU, else one per core")
    retrain: bool = flag(
        "--no-retrain",
        True,
        "train nothing: report what earlier runs with the same flags trained, and mark gaps",
    )
    quick: bool = flag(
        "--quick",
        False,
        "write a small preview to results/STUDY/report-preview/: the best trial alone, one seed, a "
        "quarter of a trial's epochs (at least 2), 2 for baselines",
    )
    config: Path | None = config_flag()
    print_config: bool = print_config_flag()

    export: tuple[str, ...] = flag(
        "--export",
        (),
        "also write best_model.keras in other formats, with commas between: "
        + "; ".join(f"{name} {format.help}" for name, format in FORMATS.items()),
        shown_default="none",
        metavar="FORMATS",
        group="output",
        read=lambda text: tuple(text.split(",")),
    )
    quiet: bool = quiet_flag()

    def __post_init__(self) -> None:
        if isinstance(self.results_dir, str):  # as a program may give it
            object.__setattr__(self, "results_dir", Path(self.results_dir))
        check_flags(self)
        check_formats(self.export)
        if self.compare:
            self._check_compare()
        if self.study is not None:
            check_study_name(self.study)

    def _check_compare(self) -> None:
        for name in self.compare:
            check_study_name(name, "--compare")
        if len(set(self.compare)) < len(self.compare):
            raise SettingsError(
                f"--compare names a study twice: {', '.join(self.compare)}; name each once."
            )
        if len(self.compare) < 2:
            raise SettingsError(
                f"--compare names {self.compare[0]!r} alone; name two studies or more."
            )
        for part, declared in flags_of(ReportSettings):
            if part.name not in _COMPARING and getattr(self, part.name) != part.default:
                raise SettingsError(
                    f"{declared.name} is of no use with --compare, which trains nothing; leave "
                    "one of them out."
                )

    @property
    def limits(self) -> Limits:
        """The most that the winner may cost."""
        return Limits.of(asdict(self))

    @property
    def final_epochs(self) -> int:
        """Epochs of candidates and winner; `for_study` has set them."""
        assert self.epochs is not None
        return self.epochs

    def sizes(self, searched: "SplitSizes") -> "SplitSizes":
        """Return the sizes of the parts for the trainings of the report.

        Args:
            searched: Sizes in the search, which may train on a part of the images.
        """
        return replace(searched, train=self.train_size, epoch_size=None)

    @property
    def seeds_of_baselines(self) -> int:
        """Seeds of every baseline."""
        return self.seeds if self.baseline_seeds is None else self.baseline_seeds

    def for_study(self, max_epochs: int, searched: "SplitSizes") -> "ReportSettings":
        """Return the settings, completed by what follows from the study and from `--quick`.

        Args:
            max_epochs: Maximum epochs of a trial of the study.
            searched: Sizes of the parts in the search.

        Raises:
            SettingsError: `--minutes` is given, but there are no epochs to fit to it; or a flag
                says otherwise than `--quick`.
        """
        for name, given in (("--epochs", self.epochs is not None), ("--quick", self.quick)):
            # Not checked at once: the fitted settings have both.
            if self.minutes is not None and given:
                raise SettingsError(
                    f"--minutes is {self.minutes:g}, but {name} leaves no epochs to fit to it; "
                    "leave one of the two out."
                )
        if self.quick:
            quick = _QUICK | {"epochs": max(2, max_epochs // 4)}
            for part, declared in flags_of(ReportSettings):
                value = getattr(self, part.name)
                if part.name in quick and value not in (part.default, quick[part.name]):
                    raise SettingsError(
                        f"{declared.name} is {value}, but --quick sets it to {quick[part.name]}; "
                        "leave one of the two out."
                    )
            images = self.train_size or searched.epoch_size or searched.train
            return replace(self, **quick, train_size=images)
        return replace(self, epochs=self.epochs or max(DEFAULT_EPOCHS, max_epochs))
