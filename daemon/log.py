"""The log of the service: one line on stderr for each event, as the journal wants it, or as people read it."""

from __future__ import annotations

import logging
import os
import sys
from datetime import datetime

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""Levels as syslog counts them."""


def setup() -> None:
    """Log to stderr from now on: our own events from INFO, those of libraries and Python's warnings from WARNING.

    To the journal, which notes the time itself, each line begins with its priority; elsewhere with time and level.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(_is_journal()))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("dustwatch").setLevel(logging.INFO)
    logging.captureWarnings(True)


class _OneLine(logging.Formatter):
    """Escapes what is not printable: names of files may hold anything, and a traceback has lines of its own."""

    def __init__(self, journal: bool) -> None:
        super().__init__()
        self.journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).rstrip("\n")
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        if self.journal:
            return f"<{_PRIORITIES[record.levelno // 10 * 10]}>{line}"  # a level in between counts as the one below
        time = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="seconds")
        return f"{time} {record.levelname} {line}"


def _is_journal() -> bool:
    """Whether stderr is the stream that systemd connected to the journal, and not one put in its place later."""
    stream = os.environ.get("JOURNAL_STREAM")
    if stream is None:
        return False
    here = os.fstat(sys.stderr.fileno())
    return stream == f"{here.st_dev}:{here.st_ino}"
