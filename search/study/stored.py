"""Find stored studies by name, and read them without changing them."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

import optuna
from optuna.storages import BaseStorage

from search.errors import StudyError
from search.files import real_path, refuse_links
from search.secrets import masked_url
from search.study.facts import check_study
from search.study.names import check_study_name
from search.study.storage import JOURNAL, file_of, open_storage, reading, shown_storage
from spaces.errors import did_you_mean, one_line

_NEAR: Final = 0.6  # least similarity of a mistyped name: names of studies are free text


def find_study(name: str, url: str | None, directory: Path) -> optuna.Study | None:
    """Return a study for reading, unchanged; None if there is none.

    Args:
        name: Name of the study.
        url: Database; None for a journal file in `directory`.
        directory: Folder of the study.

    Raises:
        StudyError: It is damaged.
        StorageError: It cannot be opened, or its folder holds a link.
    """
    if directory.is_dir():
        refuse_links(directory)
    journal = directory / JOURNAL
    file = file_of(url, journal)
    if file is not None and not file.exists():
        return None
    with reading(shown_storage(url, directory)):
        return stored_study(open_storage(journal, url), name)


def known_study(name: str, results_dir: Path, url: str | None) -> optuna.Study:
    """Return a study that must exist, as it is, to be read.

    Args:
        name: As for `require_study`, likewise the others.
        results_dir: As there.
        url: As there.

    Raises:
        SettingsError: Its name cannot be that of a folder.
        StudyError: There is no such study, or it is damaged, or its folder was renamed.
        StorageError: It cannot be opened or read, or its folder holds a link.
    """
    check_study_name(name)
    require_study(name, results_dir, url)
    directory = real_path(results_dir) / name
    journal = directory / JOURNAL
    with reading(shown_storage(url, directory)):
        storage = open_storage(journal, url)
        if url is None:
            check_folder(journal, name, optuna.get_all_study_names(storage))
        study = stored_study(storage, name)
    if study is None:
        raise StudyError(
            f"{journal} holds no study. Run the search first, or give another --study."
        )
    return study


def require_study(name: str, results_dir: Path, url: str | None) -> None:
    """Check that there is a study of this name.

    Args:
        name: Name of the study.
        results_dir: Folder of the studies.
        url: Database; None for a journal file in the study's folder.

    Raises:
        StudyError: There is none; the message names those that there are.
        StorageError: The storage cannot be opened or read, or the study's folder holds a link.
    """
    directory = results_dir / name
    if directory.is_dir():
        refuse_links(directory)
    if url is None:
        where, names = str(real_path(results_dir)), studies_in(results_dir)
    else:
        where, names = masked_url(url), _studies_at(url)
    if name not in names:
        raise StudyError(
            f"{where} has no study {name!r}; {listing(names)}. Give --study, --results-dir and "
            f"--storage as for the search.{did_you_mean(name, names, cutoff=_NEAR)}"
        )


def require_studies(url: str) -> None:
    """Check that a database holds a study; it is not created.

    Raises:
        StudyError: It holds none.
        StorageError: It cannot be opened or read.
    """
    if not _studies_at(url):
        raise StudyError(
            f"{masked_url(url)} holds no study to show; run a search first, or give --storage as "
            "for the search."
        )


def _studies_at(url: str) -> list[str]:
    no_journal = Path()
    file = file_of(url, no_journal)
    if file is not None and not file.exists():
        return []
    with reading(masked_url(url)):
        return optuna.get_all_study_names(open_storage(no_journal, url))


def stored_study(storage: BaseStorage, name: str) -> optuna.Study | None:
    """Return the study of this name as it is; None if there is none.

    Raises:
        StudyError: It is damaged.
    """
    if name not in optuna.get_all_study_names(storage):
        return None
    study = optuna.load_study(study_name=name, storage=storage)
    check_study(study)
    return study


def check_folder(journal: Path, name: str, names: Collection[str]) -> None:
    """Check that a journal holds the study that its folder is named after.

    Args:
        journal: Path of the journal.
        name: Name of the folder, and of the study that is wanted.
        names: Names of the studies in the journal; without any, it is that of a new study.

    Raises:
        StudyError: The folder was renamed.
    """
    if names and name not in names:
        held = one_line(", ".join(map(repr, names)))
        raise StudyError(
            f"{journal} holds study {held}, not {name!r}: a folder must have the name of its "
            "study. Rename the folder back, or give another --study."
        )


def studies_in(results_dir: Path) -> list[str]:
    """Return the names of the studies in a results folder that are kept in journals, sorted."""
    return sorted(journal.parent.name for journal in results_dir.glob("*/study.journal"))


def listing(names: Collection[str]) -> str:
    """Return the names of a storage's studies in words, for a message about one that is missing."""
    return f"its studies are {one_line(', '.join(names))}" if names else "it holds none"
