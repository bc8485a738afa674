"""All studies of a results folder as one storage, read-only and live."""

import copy
import itertools
import re
import threading
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.errors import SearchError, StudyError
from search.files import real_path, refuse_links
from search.study.storage import JOURNAL, open_storage, reading
from search.study.stored import stored_study, studies_in
from spaces.errors import one_line

# Ids of studies and trials begin at 0 in each journal. Outside, each journal has its own range of
# ids; browsers count exactly up to 2**53.
_STRIDE: Final = 10**9
# The dashboard keeps the note of a trial in an attribute of the study, under the trial's id.
_TRIAL_KEY: Final = re.compile(r"^(dashboard:(?:artifacts:)?)(\d+)(?=:)")


@dataclass(frozen=True, slots=True, eq=False)
class _Journal:
    """The journal of one folder.

    Args:
        folder: Name of the folder.
        file: Device and inode of the file; a file that replaces it has others.
        place: Number of the journal; never used again.
        storage: Reads it.
    """

    folder: str
    file: tuple[int, int]
    place: int
    storage: BaseStorage

    def outer(self, inner: int) -> int:
        """Return the id outside of this journal for the id of a study or a trial in it."""
        return self.place * _STRIDE + inner

    def name(self, study: str) -> str:
        """Return the name of a study outside of this journal, unique in the results folder."""
        return study if study == self.folder else f"{self.folder}/{study}"

    def trial(self, trial: FrozenTrial) -> FrozenTrial:
        """Return a trial with its id outside."""
        outside = copy.copy(trial)
        # Storages know trials by ids, which Optuna's trials hold only in this attribute.
        outside._trial_id = self.outer(trial._trial_id)
        return outside

    def attrs(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return system attributes of a study, with the ids of trials outside."""

        def renamed(found: re.Match[str]) -> str:
            return f"{found[1]}{self.outer(int(found[2]))}"

        return {_TRIAL_KEY.sub(renamed, key): value for key, value in attrs.items()}


class Journals(BaseStorage):
    """All studies of a results folder, including those that begin later.

    A study whose folder was renamed is called `FOLDER/STUDY`. Damaged studies are left out.

    Args:
        results_dir: Folder of the studies.
        say: Called with a line about each study that is left out.
    """

    def __init__(self, results_dir: Path, say: Callable[[str], None]) -> None:
        self._results_dir = real_path(results_dir)
        self._say = say
        self._known: dict[str, _Journal] = {}  # by folder
        self._left_out: set[tuple[tuple[int, int], tuple[int, int]]] = set()
        self._places = itertools.count()
        self._lock = threading.Lock()

    def require_studies(self) -> None:
        """Check that there is a study to show.

        Raises:
            StudyError: There is none that can be read.
        """
        if not self.get_all_studies():
            raise StudyError(
                f"{self._results_dir} holds no study to show; run a search first, or give "
                "--results-dir or --storage as for the search."
            )

    def get_all_studies(self) -> list[Any]:
        """Return all studies, in the order in which their folders were found."""
        found = []
        for journal in self._journals():
            for study in self._read(journal):
                outside = copy.copy(study)
                # Storages know studies by ids, which Optuna's studies hold only in this attribute.
                outside._study_id = journal.outer(study._study_id)
                outside.study_name = journal.name(study.study_name)
                outside.system_attrs = journal.attrs(study.system_attrs)
                found.append(outside)
        return found

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the id of a study.

        Raises:
            KeyError: There is no such study.
        """
        for study in self.get_all_studies():
            if study.study_name == study_name:
                return int(study._study_id)  # no public name, as above
        raise KeyError(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """See `BaseStorage`, likewise the methods below."""
        journal, inner = self._at(study_id)
        return journal.name(journal.storage.get_study_name_from_id(inner))

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        journal, inner = self._at(study_id)
        return journal.storage.get_study_directions(inner)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        journal, inner = self._at(study_id)
        return journal.storage.get_study_user_attrs(inner)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        journal, inner = self._at(study_id)
        return journal.attrs(journal.storage.get_study_system_attrs(inner))

    def get_trial(self, trial_id: int) -> FrozenTrial:
        journal, inner = self._at(trial_id)
        return journal.trial(journal.storage.get_trial(inner))

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        journal, inner = self._at(study_id)
        trials = journal.storage.get_all_trials(inner, deepcopy=deepcopy, states=states)
        return [journal.trial(trial) for trial in trials]

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise PermissionError("the storage of all studies of a results folder is read-only")

    create_new_study = delete_study = create_new_trial = _refuse
    set_study_user_attr = set_study_system_attr = _refuse
    set_trial_param = set_trial_state_values = set_trial_intermediate_value = _refuse
    set_trial_user_attr = set_trial_system_attr = _refuse

    def _at(self, outer: int) -> tuple[_Journal, int]:
        """Return the journal of a study or a trial, and its id there.

        Raises:
            KeyError: There is no such journal, as its folder was removed, say.
        """
        place, inner = divmod(outer, _STRIDE)
        for journal in list(self._known.values()):
            if journal.place == place:
                return journal, inner
        raise KeyError(outer)

    def _journals(self) -> list[_Journal]:
        """Look for the journals of the results folder, and open the new ones."""
        with self._lock:
            present = {folder: (file, stamp) for folder, file, stamp in self._files()}
            for folder, journal in list(self._known.items()):
                if present.get(folder, (None,))[0] != journal.file:
                    del self._known[folder]
            for folder, (file, stamp) in present.items():
                if folder in self._known or (file, stamp) in self._left_out:
                    continue
                try:
                    storage = self._open(folder)
                except (SearchError, OSError) as error:
                    # Until it changes: a study that just begins lacks facts for a moment.
                    self._left_out.add((file, stamp))
                    self._say(f"left out: {one_line(error)}")
                else:
                    self._known[folder] = _Journal(folder, file, next(self._places), storage)
            return list(self._known.values())

    def _files(self) -> Iterator[tuple[str, tuple[int, int], tuple[int, int]]]:
        """Yield folders, the files of their journals, and stamps of what these hold now."""
        for folder in studies_in(self._results_dir):
            try:
                found = (self._results_dir / folder / JOURNAL).lstat()
            except OSError:  # removed meanwhile
                continue
            yield folder, (found.st_dev, found.st_ino), (found.st_size, found.st_mtime_ns)

    def _open(self, folder: str) -> BaseStorage:
        directory = self._results_dir / folder
        refuse_links(directory)
        journal = directory / JOURNAL
        storage = open_storage(journal, None)
        with reading(str(journal)):
            for study in storage.get_all_studies():
                stored_study(storage, study.study_name)
        return storage

    def _read(self, journal: _Journal) -> list[Any]:
        """Return the studies of a journal; none while it cannot be read."""
        try:
            with reading(journal.folder):
                return journal.storage.get_all_studies()
        except SearchError:
            return []
