"""Tests: of the commands here, of each room in its folder."""

import random
import socket
from typing import Final

# Ends only a test that would hang: other tests may leave a command a small part of a core.
LONGEST_SECONDS: Final = 600.0

# Below the ports that Linux gives to connections, so that none takes a port before its server
# starts, and above Ray's for its workers; its other fixed ones lie outside too.
_PORTS: Final = range(20_000, 32_768)


def free_port() -> int:
    """A port of this machine that nothing listens on and no connection will take."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
