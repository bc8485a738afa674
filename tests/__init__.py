"""Tests: of the commands here, of each room in its folder."""

from typing import Final

# Ends only a test that would hang: other tests may leave a command a small part of a core.
LONGEST_SECONDS: Final = 600.0
