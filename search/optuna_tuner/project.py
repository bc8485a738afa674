"""A project: a folder with state files and a lock, and the Optuna study that belongs to it."""

import json
import os
import warnings
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna

# KerasTuner's own access to local and remote files; it exports no other.
from keras_tuner.src import backend, utils
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from search.errors import StorageError
from search.files import locked, write_atomically
from search.study.storage import JOURNAL, open_storage, remove_old_lock, repair_journal

OWNER = "project"  # attribute of studies and trials: id of the project that they belong to


class ProjectInUseError(RuntimeError):
    """Another tuner is searching the project."""


@dataclass(frozen=True, slots=True)
class Project:
    """A folder and a study.

    Args:
        folder: A path, or a URL such as `gs://bucket/folder` that TensorFlow can write to.
        storage: A storage, a database URL, or None for a journal in the folder.
        study_name: Name of the study.
    """

    folder: str
    storage: BaseStorage | str | None = None
    study_name: str = ""

    def read(self, name: str) -> dict[str, Any] | None:
        """Read a state file; None if it does not exist.

        Raises:
            ValueError: The file is not valid JSON.
        """
        path = os.path.join(self.folder, name)
        state: dict[str, Any] | None = utils.load_json(path) if backend.io.exists(path) else None
        return state

    def write(self, name: str, state: dict[str, Any]) -> None:
        """Write a state file; a crash leaves the old content or the new one."""
        path = os.path.join(self.folder, name)
        utils.create_directory(os.path.dirname(path))
        if self._is_remote:  # object stores replace whole files anyway
            utils.save_json(path, state)
        else:
            write_atomically(Path(path), json.dumps(state).encode())

    def lock(self) -> ExitStack:
        """Lock the project against other searches, until the result is closed or the process ends.

        Raises:
            ProjectInUseError: Another tuner, in this process or another one, holds the lock.
        """
        held = ExitStack()
        if not self._is_remote:
            folder = Path(self.folder).absolute()
            folder.parent.mkdir(parents=True, exist_ok=True)
            file = folder.with_name(f".{folder.name}.lock")  # overwriting deletes what is inside

            def refusal(holder: str) -> ProjectInUseError:
                return ProjectInUseError(
                    f"project {self.folder} is being searched by {holder}. Wait for it or stop it "
                    "(one left in this process: oracle.interrupt(KeyboardInterrupt())), or choose "
                    "another project_name."
                )

            held.enter_context(locked(file, refusal))
        return held

    def open_study(
        self, *, objective: Any, sampler: BaseSampler, pruner: BasePruner
    ) -> optuna.Study:
        """Open the study; it is created if it does not exist.

        Args:
            objective: KerasTuner's objective.
            sampler: Sampler of the study.
            pruner: Pruner of the study.

        Raises:
            ValueError: The storage cannot be opened, or the study there has another objective.
        """
        direction: Literal["maximize", "minimize"] = (
            "maximize" if objective.direction == "max" else "minimize"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study = optuna.create_study(
                study_name=self.study_name,
                storage=self._open_storage(),
                sampler=sampler,
                pruner=pruner,
                direction=direction,
                load_if_exists=True,
            )
            names = study.metric_names or [objective.name]
            found = ", ".join(each.name.lower() for each in study.directions)
            if names != [objective.name] or found != direction:
                raise ValueError(
                    f"study {self.study_name!r} is to {found} {', '.join(names)}; this search is "
                    f"to {direction} {objective.name}. Choose another study_name or project_name."
                )
            if study.metric_names is None:
                study.set_metric_names(names)  # labels of the dashboard's axes
        return study

    def delete_study(self, owner: str) -> None:
        """Delete the study from a storage outside the folder, if it is there.

        Args:
            owner: Id of this project; the study of another project is kept.
        """
        if self.storage is None:
            return  # the journal is deleted with the folder
        storage = self._open_storage()
        with suppress(KeyError):
            study_id = storage.get_study_id_from_name(self.study_name)
            if storage.get_study_user_attrs(study_id).get(OWNER) == owner:
                storage.delete_study(study_id)

    def repair_journal(self) -> None:
        """Remove what a crash left, a lock or half a line; only while the project is locked."""
        if self.storage is None and not self._is_remote:
            remove_old_lock(self._journal)
            repair_journal(self._journal)

    @property
    def _is_remote(self) -> bool:
        return "://" in self.folder

    @property
    def _journal(self) -> Path:
        return Path(self.folder).absolute() / JOURNAL

    def _open_storage(self) -> BaseStorage:
        if isinstance(self.storage, BaseStorage):
            return self.storage
        if self.storage is None and self._is_remote:
            raise ValueError(
                f"a study cannot be kept in {self.folder}, which is no local folder; give a "
                "database as storage, for example storage='postgresql://user@host/database'."
            )
        try:
            return open_storage(self._journal, self.storage)
        except StorageError as error:
            raise ValueError(str(error).removeprefix("--")) from error
