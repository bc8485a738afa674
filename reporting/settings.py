"""What a report is asked to do: one frozen dataclass that checks itself."""

from dataclasses import dataclass
from pathlib import Path

from search.errors import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """One report, as the command line describes it.

    Args:
        study: Name of the study; None: the one that was searched last.
        results_dir: Holds one folder for each study.
        storage: URL of a database; None: the journal file in the study's folder.
        data_dir: Folder of the IDX files; None: looked for where the README says.
        top: So many of the best trials are retrained and ranked anew.
        candidate_seeds: Fresh seeds for each of them.
        seeds: Seeds of the final trainings, of the winner and of every baseline.
        epochs: Of the winner's final training.
        baseline_epochs: Of the baselines' final training.
        ensemble: Whether to add the average over the winner's seeds as a row.
        averaging: Whether to add the winner with averaged weights as a row, where it has none.
        workers: Processes; None: one for each core, or for each GPU.
        retrain: Whether to train what is missing; else the report has gaps.
        quick: A preview: one candidate, one seed, 2 epochs.

    Raises:
        SettingsError: A value is out of its range; the message names the flag.
    """

    study: str | None = None
    results_dir: Path = Path("results")
    storage: str | None = None
    data_dir: Path | None = None
    top: int = 3
    candidate_seeds: int = 2
    seeds: int = 3
    epochs: int = 30
    baseline_epochs: int = 10
    ensemble: bool = False
    averaging: bool = False
    workers: int | None = None
    retrain: bool = True
    quick: bool = False

    def __post_init__(self) -> None:
        for flag, number in (
            ("--top", self.top),
            ("--candidate-seeds", self.candidate_seeds),
            ("--seeds", self.seeds),
            ("--epochs", self.epochs),
            ("--baseline-epochs", self.baseline_epochs),
            ("--workers", self.workers),
        ):
            if number is not None and number < 1:
                raise SettingsError(f"{flag} is {number}; it must be 1 or more.")
