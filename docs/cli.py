"""Write docs/cli.md from the flags of the commands: `python -m docs.cli`."""

from collections.abc import Iterator
from dataclasses import Field
from pathlib import Path
from typing import Any, Final

import predict
import report
import run_search
from reporting.settings import ReportSettings
from search.command_line.flags import Flag, flags_of, help_text
from search.command_line.parser import Parser
from search.settings import SearchSettings

PAGE: Final = Path(__file__).with_name("cli.md")
_EXIT_CODES: Final = """\
| exit code | meaning |
|-|-|
| 0 | finished, or ended by `--timeout` or `--patience-trials` |
| 1 | `report.py`: the report lacks results (it says which, and why), unless `--no-retrain`; \
a file of `--export` could not be written; or a study of `--compare` has no result |
| 2 | an error; one line says what to do. `predict.py`: an image could not be read |
| 129, 130, 143 | stopped by SIGHUP, Ctrl-C (or `--stop`) or SIGTERM; repeat the command to resume |
"""


def page() -> str:
    """Return the text of docs/cli.md."""
    parts = [
        "# Command line",
        "Generated from the flags by `python -m docs.cli`; `--help` of each command says the same.",
        "Progress goes to standard error, the outcome to standard output. A command goes on if "
        "a stream is closed or the program that reads it has ended. A lost terminal sends SIGHUP, "
        "which stops a command as Ctrl-C does; under `nohup` the work goes on. `kill -INT` also "
        "stops a command that a script has started with `&`, although the shell lets it ignore "
        "Ctrl-C.",
        _EXIT_CODES.rstrip(),
    ]
    images = "| `IMAGE ...` | image file, or folder of image files |"
    parts += _command(run_search.make_parser(), SearchSettings)
    parts += _command(report.make_parser(), ReportSettings)
    parts += _command(predict.make_parser(), predict.PredictSettings, images)
    return "\n\n".join(parts) + "\n"


def _command(parser: Parser, settings: type[Any], *positional: str) -> Iterator[str]:
    yield f"## python {parser.prog}"
    yield str(parser.description)
    rows = ["| flag | meaning |", "|-|-|", *positional]
    for part, declared in flags_of(settings):
        if declared.group is not None:
            rows.append(f"| **{declared.group}** | |")
        rows.append(_row(part, declared))
    yield "\n".join(rows)
    if parser.epilog:
        yield str(parser.epilog)


def _row(part: Field[Any], declared: Flag) -> str:
    name = declared.name if declared.metavar is None else f"{declared.name} {declared.metavar}"
    if part.type == (bool | None):
        name += f", --no-{declared.name.removeprefix('--')}"
    if part.default == () and declared.read is None:
        name += " ..."
    name, text = (cell.replace("|", "\\|") for cell in (name, help_text(part, declared)))
    return f"| `{name}` | {text} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
