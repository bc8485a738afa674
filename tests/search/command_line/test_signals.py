"""Signals of a command: they ask for a stop, and give exit codes."""

import os
import signal
from collections.abc import Iterator

import pytest

from search.command_line.process import EXIT_CODES, STOP_SIGNALS, let_signals_stop, stop_by_signal
from search.errors import StopReason


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """No test leaves a handler behind, and none depends on what `nohup` left to it."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGINT, StopReason.CTRL_C),
        (signal.SIGTERM, StopReason.SIGTERM),
        (signal.SIGHUP, StopReason.SIGHUP),
    ],
)
def test_a_signal_asks_for_a_stop_by_its_name_as_often_as_it_comes(
    number: signal.Signals, reason: StopReason
) -> None:
    asked: list[StopReason] = []
    with stop_by_signal(asked.append):
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
    assert asked == [reason, reason]
    assert EXIT_CODES[reason] == 128 + number


def test_the_handlers_before_are_back_afterwards_even_after_an_error() -> None:
    def mine(number: int, frame: object) -> None: ...

    signal.signal(signal.SIGTERM, mine)
    with pytest.raises(KeyError), stop_by_signal(lambda reason: None):
        assert signal.getsignal(signal.SIGTERM) is not mine
        raise KeyError
    assert signal.getsignal(signal.SIGTERM) is mine
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL


def test_what_is_let_stop_stays_so() -> None:
    asked: list[StopReason] = []
    assert set(let_signals_stop(asked.append).values()) == {signal.SIG_DFL}
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    assert asked == [StopReason.CTRL_C, StopReason.SIGTERM]


def test_an_ignored_signal_stays_ignored() -> None:
    asked: list[StopReason] = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_by_signal(asked.append):
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
    assert asked == [StopReason.SIGTERM]
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
