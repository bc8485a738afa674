"""The study, the single record of a search: opened, checked against this run, and written to."""

import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search.data.split import SplitSizes
from search.errors import StudyError

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
# Versions that let several coordinators share a study left this attribute on failed trials that
# they began for one place; such a trial counts nowhere.
SURPLUS = "surplus"
# Facts that make trials comparable; a study never mixes two values of one of them.
COMPARABLE = ("space", "data", "split", "epochs", "precision", "engine")
_FLAGS = {
    "space": "--space",
    "data": "--data-dir",
    "split": "--train-size and --val-size",
    "epochs": "--epochs",
    "precision": "--precision",
    "engine": "--engine",
}


def trial_seed(seed: int, number: int) -> int:
    """Return the seed of everything random in a trial; in [0, 2**32), distinct for near numbers."""
    return (seed * 1_000_003 + number) % 2**32


def split_words(sizes: SplitSizes) -> str:
    """How the training images are parted, as the study stores it; `split_sizes` reads it."""
    train = "all other" if sizes.train is None else f"{sizes.train:,}"
    return f"stratified, fixed: {sizes.val:,} validation images, {train} for training"


def split_sizes(words: str) -> SplitSizes:
    """Return the sizes that `split_words` wrote.

    Raises:
        StudyError: `split_words` has not written this.
    """
    match = re.search(r"([\d,]+) validation images, (all other|[\d,]+) for training$", words)
    if match is None:
        raise StudyError(f"the study's split is {words!r}; this version cannot read it.")
    val, train = (part.replace(",", "") for part in match.groups())
    return SplitSizes(train=None if train == "all other" else int(train), val=int(val))


def open_study(storage: BaseStorage, name: str, facts: Mapping[str, Any]) -> optuna.Study:
    """Create the study, or continue it if its trials are comparable with those to come.

    Args:
        storage: Where it lives.
        name: Its name.
        facts: What is stored on the study; the `COMPARABLE` ones must not differ, the others are
            kept for each run.

    Raises:
        StudyError: It holds trials that cannot be compared, or were made by another program.
    """
    study = optuna.create_study(
        study_name=name, storage=storage, direction="maximize", load_if_exists=True
    )
    stored = study.user_attrs
    trials = study.get_trials(deepcopy=False)
    if not trials:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(["val_accuracy"])  # the dashboard's axes are labelled so
    if trials and "space" not in stored:
        raise StudyError(
            f"study {name!r} holds trials of another program; start another with --study NAME."
        )
    for key in COMPARABLE:
        if key in stored and stored[key] != facts[key]:
            raise StudyError(
                f"study {name!r} has trials with {key} {stored[key]!r}; this run asks for "
                f"{facts[key]!r}, and the two cannot be compared. Continue it with its own "
                f"{_FLAGS[key]}, or start another with --study NAME."
            )
    for key, value in facts.items():
        if key not in stored:
            study.set_user_attr(key, value)
    this_run = {key: value for key, value in facts.items() if key not in COMPARABLE}
    runs = stored.get("runs", [])
    if this_run not in runs:
        study.set_user_attr("runs", [*runs, this_run])
    return study


def enqueue_first(study: optuna.Study, first: Mapping[str, Mapping[str, Any]]) -> None:
    """Let these configurations wait to be the first trials; those already there are passed over.

    Args:
        study: The study.
        first: Hyperparameter values by name of the configuration, in order.
    """
    # One that failed is given another chance: the cause may have been mended.
    known = {
        trial.user_attrs.get("baseline")
        for trial in study.get_trials(deepcopy=False)
        if trial.state != TrialState.FAIL
    }
    for name, params in first.items():
        if name not in known:
            study.enqueue_trial(dict(params), user_attrs={"baseline": name})


def requeue_abandoned(study: optuna.Study) -> int:
    """Queue the trials again that a killed coordinator left running; only while none is alive.

    Returns:
        Number of queued trials.
    """
    abandoned = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in abandoned:
        # Optuna has no public way to queue a trial again under its number.
        study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
    return len(abandoned)


def count_states(study: optuna.Study) -> Counter[TrialState]:
    """Count the trials in each state, without those marked as `SURPLUS`."""
    trials = study.get_trials(deepcopy=False)
    return Counter(trial.state for trial in trials if SURPLUS not in trial.user_attrs)


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The complete trial of the highest value; None if there is none."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


class Artifacts:
    """The files that the dashboard shows beside a trial.

    Args:
        directory: Holds them; made if it is not there.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._store = FileSystemArtifactStore(str(directory))

    def add(self, trial: optuna.Trial, name: str, content: bytes) -> None:
        """Attach a file to a trial that has not ended yet."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / name
            file.write_bytes(content)
            upload_artifact(artifact_store=self._store, file_path=str(file), study_or_trial=trial)


class Checkpoints:
    """Trainings that ended at an early budget, for trials that go on with them.

    Args:
        directory: Holds a file for each; made when the first comes.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, number: int, checkpoint: bytes) -> None:
        """Keep the checkpoint of a trial."""
        self._directory.mkdir(parents=True, exist_ok=True)
        partial = self._directory / f"{number}.partial"
        partial.write_bytes(checkpoint)
        partial.replace(self._file(number))

    def load(self, number: int) -> bytes | None:
        """The checkpoint of a trial; None if there is none."""
        file = self._file(number)
        return file.read_bytes() if file.exists() else None

    def keep_only(self, numbers: Container[int]) -> None:
        """Remove the checkpoints of all other trials."""
        for file in self._directory.glob("*.npz"):
            if int(file.stem) not in numbers:
                file.unlink(missing_ok=True)

    def _file(self, number: int) -> Path:
        return self._directory / f"{number}.npz"
