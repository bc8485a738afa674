"""What a person sees while a search runs: a live table on a terminal, plain lines elsewhere."""

import contextlib
import sys
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.progress import Progress


def make_display(*, quiet: bool) -> "LiveDisplay | PlainDisplay | QuietDisplay":
    """The display that fits standard error: that stream, so that standard output stays for results.

    Args:
        quiet: Show no progress.
    """
    if quiet:
        return QuietDisplay()
    console = Console(stderr=True, highlight=False)
    return LiveDisplay(console) if console.is_terminal else PlainDisplay()


def duration(seconds: float) -> str:
    """A time span as people say it: `42 s`, `7 min 05 s`, `1 h 02 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class QuietDisplay:
    """Shows only what a person must know."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave nothing behind."""

    def update(self, progress: Progress) -> None:
        """See `search.coordinator.Display`."""

    def log(self, text: str) -> None:
        """See `search.coordinator.Display`."""

    def note(self, text: str) -> None:
        """See `search.coordinator.Display`."""
        # A reader that has gone away, such as `head`, must not end the search.
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr, flush=True)  # noqa: T201


class PlainDisplay(QuietDisplay):
    """One plain line for each event, for log files and pipes."""

    def __init__(self) -> None:
        self._finished = -1

    def update(self, progress: Progress) -> None:
        """Print how far the search is whenever another trial has finished."""
        if progress.finished != self._finished and self._finished >= 0:
            self.note(_summary(progress))
        self._finished = progress.finished

    def log(self, text: str) -> None:
        """Print the line."""
        self.note(text)


class LiveDisplay(QuietDisplay):
    """A bar, a line of totals and the running trials, redrawn in place; finished trials scroll."""

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
        running = Table("trial", "epoch", "val_accuracy", box=None, header_style="dim")
        for trial in progress.running:
            accuracy = "-" if trial.val_accuracy is None else f"{trial.val_accuracy:.4f}"
            running.add_row(
                str(trial.number), f"{trial.epoch}/{progress.max_epochs} done", accuracy
            )
        parts: list[RenderableType] = [bar, Text(_summary(progress))]
        self._live.update(Group(*parts, running) if progress.running else Group(*parts))

    def log(self, text: str) -> None:
        """Print the line above the live part."""
        self.note(text)

    def note(self, text: str) -> None:
        """Print the line above the live part, unbroken, so that commands can be copied."""
        self._console.print(Text(text), soft_wrap=True)


def _summary(progress: Progress) -> str:
    best = (
        "none yet"
        if progress.best is None
        else f"{progress.best[1]:.4f} (trial {progress.best[0]})"
    )
    left = (
        "unknown" if progress.seconds_left is None else f"about {duration(progress.seconds_left)}"
    )
    return (
        f"{progress.finished}/{progress.target} trials, {progress.pruned} pruned, "
        f"{progress.failed} failed | best {best} | "
        f"{duration(progress.seconds)} so far, {left} left"
    )
