"""Files that a user names: what kind they are, and their names on a terminal."""

import stat
from pathlib import Path
from typing import Final

_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def special_kind(path: Path) -> str | None:
    """Return the kind of a file that is not a regular one, in words; opening it may never end.

    Raises:
        OSError: The file does not exist, or links lead in a circle.
    """
    return _KINDS.get(stat.S_IFMT(path.stat().st_mode))
