"""Progress of a search: a live table on a terminal, plain lines elsewhere."""

import sys
from dataclasses import dataclass, field
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.escape import escaped
from search.words import counted


@dataclass(slots=True)
class RunningTrial:
    """A trial that a worker is training."""

    number: int
    epoch: int = 0
    value: float | None = None


@dataclass(slots=True, kw_only=True)
class Progress:
    """The state of a search at one moment.

    Args:
        target: Finished trials wanted in total.
        max_epochs: Maximum epochs of a trial.
        measured: Name of the metric that is the value of a trial.
        complete: Trials that ran all their epochs.
        pruned: Trials that were stopped early.
        failed: Trials without a value.
        best: Number and value of the best complete trial; with several objectives, of the most
            accurate one.
        front: With several objectives, the number of trials on the front.
        seconds: Time since this run began.
        seconds_left: Estimated time left; None if there is no estimate yet.
        paused: Whether a request has paused the search.
    """

    target: int
    max_epochs: int
    measured: str = "val_accuracy"
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    running: list[RunningTrial] = field(default_factory=list)
    best: tuple[int, float] | None = None
    front: int | None = None
    seconds: float = 0.0
    seconds_left: float | None = None
    paused: bool = False

    @property
    def finished(self) -> int:
        """Number of complete and pruned trials, which `--trials` counts."""
        return self.complete + self.pruned


class Display(Protocol):
    """Interface for showing the progress of a search."""

    def update(self, progress: Progress) -> None:
        """Show the state of the search."""

    def log(self, text: str) -> None:
        """Show a line about one trial."""

    def note(self, text: str) -> None:
        """Show a line that matters even under `--quiet`."""


def make_display(*, quiet: bool) -> "LiveDisplay | NotebookDisplay | PlainDisplay | QuietDisplay":
    """Return the display for a notebook, a terminal or plain standard error.

    A command keeps standard output free for the outcome.

    Args:
        quiet: Show no progress.
    """
    if quiet:
        return QuietDisplay()
    console = Console(stderr=True, highlight=False)
    if console.is_jupyter:
        return NotebookDisplay()
    return LiveDisplay(console) if console.is_terminal else PlainDisplay()


def duration(seconds: float) -> str:
    """Return a time span in words: `42 s`, `7 min 05 s`, `1 h 02 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class QuietDisplay:
    """A `Display` that shows notes only."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release nothing."""

    def update(self, progress: Progress) -> None:
        """Show nothing."""

    def log(self, text: str) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Print the line."""
        print(escaped(text), file=sys.stderr)  # noqa: T201


class PlainDisplay(QuietDisplay):
    """A `Display` that prints one line for each event, for log files and pipes."""

    def __init__(self) -> None:
        self._finished = -1

    def update(self, progress: Progress) -> None:
        """Print the totals whenever another trial has finished."""
        if progress.finished != self._finished and self._finished >= 0:
            self.note(_summary(progress))
        self._finished = progress.finished

    def log(self, text: str) -> None:
        """Print the line."""
        self.note(text)


class LiveDisplay(QuietDisplay):
    """A `Display` that redraws a bar, the totals and the running trials; other lines scroll."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(
            Text("starting the workers (about 5 s) ..."), console=console, refresh_per_second=4
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the last state on the screen."""
        self._live.stop()

    def update(self, progress: Progress) -> None:
        """Redraw."""
        bar = Table.grid(padding=(0, 1))
        done = f"{progress.finished}/{progress.target}"
        bar.add_row(
            ProgressBar(total=progress.target, completed=progress.finished, width=30), Text(done)
        )
        running = Table("trial", "epoch", progress.measured, box=None, header_style="dim")
        for trial in progress.running:
            value = "-" if trial.value is None else f"{trial.value:.4f}"
            running.add_row(str(trial.number), f"{trial.epoch}/{progress.max_epochs} done", value)
        parts: list[RenderableType] = [bar, Text(_summary(progress))]
        self._live.update(Group(*parts, running) if progress.running else Group(*parts))

    def log(self, text: str) -> None:
        """Print the line above the live part."""
        self.note(text)

    def note(self, text: str) -> None:
        """Print the line above the live part, unbroken, so that commands can be copied."""
        self._console.print(Text(escaped(text)), soft_wrap=True)


class NotebookDisplay(QuietDisplay):
    """A `Display` that keeps the totals current in a notebook's cell; other lines follow them."""

    def __init__(self) -> None:
        # IPython is always installed in a notebook, and not required elsewhere.
        self._place: Any = import_module("IPython.display").DisplayHandle()
        self._shown = "starting the workers (about 5 s) ..."
        self._place.display({"text/plain": self._shown}, raw=True)

    def update(self, progress: Progress) -> None:
        """Replace the totals."""
        running = [
            f"  trial {trial.number}: {trial.epoch}/{progress.max_epochs} epochs"
            + ("" if trial.value is None else f", {progress.measured} {trial.value:.4f}")
            for trial in progress.running
        ]
        text = "\n".join([_summary(progress), *running])
        if text != self._shown:
            self._shown = text
            self._place.update({"text/plain": text}, raw=True)

    def log(self, text: str) -> None:
        """Print the line."""
        self.note(text)

    def note(self, text: str) -> None:
        """Print the line, as output: notebooks show standard error as a fault."""
        print(escaped(text))  # noqa: T201


def _summary(progress: Progress) -> str:
    best = (
        "none yet"
        if progress.best is None
        else f"{progress.best[1]:.4f} (trial {progress.best[0]})"
    )
    left = (
        "unknown" if progress.seconds_left is None else f"about {duration(progress.seconds_left)}"
    )
    if progress.front:
        best += f", front of {counted(progress.front, 'trial')}"
    paused = "paused | " if progress.paused else ""
    return (
        f"{paused}{progress.finished}/{progress.target} trials, {progress.pruned} pruned, "
        f"{progress.failed} failed | best {best} | "
        f"{duration(progress.seconds)} elapsed, {left} left"
    )
