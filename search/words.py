"""Numbers and lists as words of a sentence, and numbers as they are meant."""

from collections.abc import Sequence


def listed(words: Sequence[str], conjunction: str = "and") -> str:
    """Return `a, b and c`; nothing for no words."""
    if not words:
        return ""
    *others, last = words
    return f"{', '.join(others)} {conjunction} {last}" if others else last


def counted(count: int, noun: str) -> str:
    """Return `1 trial`, `1,200 trials`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def rounded(value: float) -> float:
    """Remove the errors of added steps: 0.30000000000000004 becomes 0.3."""
    return float(f"{value:.12g}")
