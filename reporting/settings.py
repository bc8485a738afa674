"""The settings of a report: one frozen dataclass whose fields are the flags of `report.py`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from reporting.export import FORMATS, check_formats
from search.command_line import (
    STORAGE_VARIABLE,
    called,
    check_flags,
    check_study_name,
    flag,
    worker_count,
)

_EPOCHS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """One report; each field is described by the help of its flag.

    Raises:
        SettingsError: A value cannot be used; the message names the flag.
    """

    study: str | None = flag(
        "--study",
        None,
        "name of the study",
        shown_default="the one searched last",
        metavar="NAME",
        group="study",
    )
    results_dir: Path = flag(
        "--results-dir", Path("results"), "folder of the studies", metavar="DIR"
    )
    storage: str | None = flag(
        "--storage",
        None,
        f"database of the study, as for {called('run_search.py')}",
        shown_default=f"${STORAGE_VARIABLE}, or the journal file in the study's folder",
        metavar="URL",
        url=True,
        variable=STORAGE_VARIABLE,
    )
    space: str | None = flag(
        "--space",
        None,
        f"your own space, as for {called('run_search.py')}; the report runs its code, so it never "
        "takes the name from the study alone",
        shown_default="the study's, if it is built in",
        metavar="NAME",
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
        "number of best trials to retrain and choose from, each as it was and with shifted images; "
        "each costs two trainings as long as the winner's",
        metavar="N",
        group="training",
        at_least=1,
    )
    candidate_seeds: int = flag(
        "--candidate-seeds", 1, "new seeds for each of these trainings", metavar="N", at_least=1
    )
    seeds: int = flag(
        "--seeds", 3, "seeds of the winner and of every baseline", metavar="N", at_least=1
    )
    epochs: int | None = flag(
        "--epochs",
        None,
        "epochs of the best trials and of the winner; learning-rate schedules are stretched",
        shown_default=f"{_EPOCHS}, or those of a trial if that is more",
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
        "add a row for the winner with averaged weights, if its configuration has none",
    )
    workers: int | None = flag(
        "--workers",
        None,
        "number of worker processes",
        shown_default="one per GPU, else one per core",
        metavar="auto|N",
        at_least=1,
        read=worker_count,
    )
    retrain: bool = flag(
        "--no-retrain",
        True,
        "train nothing: report what earlier runs with the same flags trained, and mark gaps",
    )
    quick: bool = flag("--quick", False, "write a small preview to results/STUDY/report-preview/")
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
    quiet: bool = flag("--quiet", False, "show no progress")

    def __post_init__(self) -> None:
        check_flags(self)
        check_formats(self.export)
        if self.study is not None:
            check_study_name(self.study)

    @property
    def final_epochs(self) -> int:
        """Epochs of the winner; `for_trials_of` has set them."""
        assert self.epochs is not None
        return self.epochs

    def for_trials_of(self, max_epochs: int) -> "ReportSettings":
        """Return the settings with what follows from the study and from `--quick`.

        Args:
            max_epochs: Maximum epochs of a trial of the study.
        """
        if self.quick:
            epochs = max(2, max_epochs // 4)
            return replace(
                self, top=1, candidate_seeds=1, seeds=1, epochs=epochs, baseline_epochs=2
            )
        return replace(self, epochs=self.epochs or max(_EPOCHS, max_epochs))
