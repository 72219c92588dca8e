"""Ports for servers that have to be told theirs beforehand."""

from __future__ import annotations

import secrets
import socket

__all__ = ["free_port"]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that the system gives to nobody who asks for any.

    Those that it gives are above 32767, or above 49151: one of them could be another's before it is listened on.
    """
    while True:
        port = 12_000 + secrets.randbelow(20_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:  # somebody's
            continue
        return port
