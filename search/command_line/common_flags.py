"""Flags of more than one command.

Each is a function that declares the flag at a settings field, as `flag` does; its arguments add
what differs between commands.
"""

from functools import partial
from pathlib import Path
from typing import Final

from search.command_line.flags import STORAGE_VARIABLE, flag, worker_count

study_flag: Final = partial(flag, "--study", None, "name of the study", metavar="NAME")
results_dir_flag: Final = partial(
    flag, "--results-dir", Path("results"), "folder of the studies", metavar="DIR"
)
storage_flag: Final = partial(
    flag, "--storage", None, metavar="URL", url=True, variable=STORAGE_VARIABLE
)
workers_flag: Final = partial(
    flag,
    "--workers",
    None,
    "number of worker processes",
    metavar="auto|N",
    above=0,
    read=worker_count,
)
config_flag: Final = partial(
    flag,
    "--config",
    None,
    "TOML file of flags, as written by --print-config; flags on the command line override it",
    metavar="FILE",
    group="configuration",
    once=True,
)
print_config_flag: Final = partial(
    flag,
    "--print-config",
    False,
    "print the flags of this command as TOML, and stop",
    once=True,
    starts_nothing=True,
)
quiet_flag: Final = partial(flag, "--quiet", False, "show no progress")
