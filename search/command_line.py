"""What the command lines share: how they refuse a flag, how signals stop them, how they exit.

Imports nothing heavy, so that `--help` and a wrong flag answer at once.
"""

import argparse
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from search.errors import SettingsError

_REASONS: Final[dict[int, str]] = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "SIGTERM",
    signal.SIGHUP: "SIGHUP",
}
STOP_SIGNALS: Final = tuple(_REASONS)
EXIT_CODES: Final = {reason: 128 + number for number, reason in _REASONS.items()}  # as shells say


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command in one line, as all other errors are said."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with code 2."""
        self.exit(2, f"{self.prog.removesuffix('.py')}: {message}; see --help.\n")


def worker_count(flag: str) -> int | None:
    """Read `--workers`: a number, or None for `auto`.

    Raises:
        SettingsError: It is neither; whether the number is in range is for the settings to say.
    """
    if flag == "auto":
        return None
    try:
        return int(flag)
    except ValueError:
        raise SettingsError(
            f"--workers is {flag!r}; it must be auto or a whole number above 0."
        ) from None


@contextmanager
def stop_by_signal(on_stop: Callable[[str], None]) -> Iterator[None]:
    """Inside, Ctrl-C, SIGTERM and SIGHUP only ask for a stop; see `let_signals_stop`.

    Args:
        on_stop: As there.
    """
    before = let_signals_stop(on_stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def let_signals_stop(on_stop: Callable[[str], None]) -> dict[int, Any]:
    """From now on Ctrl-C, SIGTERM and SIGHUP ask for a stop, and do nothing else.

    A signal that is ignored stays so: under `nohup` a hangup shall stop nothing.

    Args:
        on_stop: Takes the signal's name, a key of `EXIT_CODES`; called between any two
            instructions of the main thread, for each signal that comes.

    Returns:
        By the signal's number, the handler that it had.
    """

    def handle(number: int, frame: object) -> None:
        on_stop(_REASONS[number])

    answered = [number for number in _REASONS if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handle) for number in answered}
