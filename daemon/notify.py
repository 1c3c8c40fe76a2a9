"""Tells systemd how the service is doing: a datagram of ``KEY=value`` to the socket it names (sd_notify).

No library does it for us: python-systemd is compiled against libsystemd, which not every machine has, and sdnotify
has had no release for years. Outside a service that was started with ``Type=notify`` nothing happens, and a manager
that is gone or does not answer never keeps the service from its work.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

_PATIENCE_S = 1.0


def ready() -> None:
    """Say that the service has started."""
    _send("READY=1")


def status(text: str) -> None:
    """Show a line in ``systemctl status``; a line break in it, as from the name of a file, becomes a space."""
    _send("STATUS=" + " ".join(text.splitlines()))


def stopping() -> None:
    """Say that the service is about to end, so that what takes its time is not taken for a hang."""
    _send("STOPPING=1")


def _send(state: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # in the abstract namespace
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(_PATIENCE_S)
        # Names of files need not be UTF-8, messages must be.
        manager.sendto(state.encode("utf-8", "backslashreplace"), address)
