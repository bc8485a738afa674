"""What a person sees while a report is made: a bar on a terminal, plain lines elsewhere."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def make_progress(*, quiet: bool) -> Progress:
    """A progress bar on standard error, with the time left; lines without a bar when piped.

    Args:
        quiet: Show nothing.
    """
    console = Console(stderr=True, quiet=quiet, highlight=False)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        # Single steps take minutes: the speed of half an hour ago still counts.
        speed_estimate_period=1800,
    )
