"""Names of studies, each of which also names a folder."""

import re
from typing import Final

from search.errors import SettingsError

_MAX_NAME_BYTES: Final = 200  # of the 255 of a file's name; a lock file's name is longer
COMPARISONS: Final = "compare"  # folder of comparisons, beside those of studies


def check_study_name(name: str, flag: str = "--study") -> None:
    """Check the name of a study, which also names its folder.

    Args:
        name: The name.
        flag: Flag that gives it, for the message.

    Raises:
        SettingsError: The name cannot be that of a single folder, or is too long.
    """
    if not name.strip(" .") or not name.isprintable() or set("/\\") & set(name):
        raise SettingsError(
            f"{flag} {name!r} cannot name a folder; use letters, digits, '-', '_' and '.'."
        )
    length = len(name.encode())
    if length > _MAX_NAME_BYTES:
        raise SettingsError(
            f"{flag} is {length} bytes long, which is too long for the name of a folder; use "
            f"{_MAX_NAME_BYTES} or fewer."
        )


def check_new_study_name(name: str) -> None:
    """Check that the name of a new study needs no quotes in a shell, and is free.

    Raises:
        SettingsError: The name has other characters, or is reserved: for comparisons, or with a
            dot first, for what studies share (`.data`, `.baselines`).
    """
    if name == COMPARISONS:
        raise SettingsError(
            f"--study {name!r} cannot name a new study: report.py --compare writes into the folder "
            "of that name. Use another name."
        )
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise SettingsError(
            f"--study {name!r} cannot name a new study; use letters, digits, '-', '_' and '.', and "
            "neither '-' nor '.' first."
        )
