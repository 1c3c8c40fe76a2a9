"""The log, as those read it who have the other end of stderr."""

import os
import re
import subprocess
import sys
from datetime import datetime, timedelta

EVENTS = """
import logging, os, warnings
from dustwatch.daemon import log
log.setup()
ours, theirs = logging.getLogger("dustwatch.daemon.service"), logging.getLogger("numba.core")
"""


def lines(script: str, *, journal: str | None = None) -> list[str]:
    """What a process writes to stderr. `journal` is its $JOURNAL_STREAM, "{}" in it the device and inode of stderr."""
    reading, writing = os.pipe()
    status = os.fstat(writing)
    environment = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    if journal is not None:
        environment["JOURNAL_STREAM"] = journal.format(f"{status.st_dev}:{status.st_ino}")
    process = subprocess.Popen([sys.executable, "-c", EVENTS + script], stderr=writing, env=environment)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8", newline="\n") as stderr:
        written = stderr.read()
    assert process.wait() == 0, written
    assert written.endswith("\n")
    return written.removesuffix("\n").split("\n")


def test_events_have_time_and_level() -> None:
    before = datetime.now().astimezone() - timedelta(seconds=1)
    (line,) = lines("ours.info('%s: cleaned', 'a.tif')")
    time, text = line.split(" ", 1)
    assert text == "INFO a.tif: cleaned"
    assert before <= datetime.fromisoformat(time) <= datetime.now().astimezone()


def test_journal_gets_priorities_and_no_time() -> None:
    script = """
for level in (logging.INFO, logging.WARNING, logging.WARNING + 5, logging.ERROR, logging.CRITICAL):
    ours.log(level, "event")
"""
    expected = ["<6>event", "<4>event", "<4>event", "<3>event", "<2>event"]
    assert lines(script, journal="{}") == expected


def test_journal_that_is_not_at_the_end_of_stderr_is_none() -> None:
    for journal in ("", "1:1", "no numbers", "{} "):
        (line,) = lines("ours.info('event')", journal=journal)
        assert line.endswith(" INFO event")


def test_libraries_are_heard_from_warnings_on() -> None:
    script = """
ours.debug("a")
theirs.info("b")
ours.info("c")
theirs.warning("d")
logging.getLogger("dustwatches").info("e")
"""
    assert lines(script, journal="{}") == ["<6>c", "<4>d"]


def test_one_event_is_one_line_whatever_files_are_called() -> None:
    (line,) = lines(
        r"ours.info('%s', 'a\nb\r\x1b[2J\x85\u2028\x00ü 雪\u202e.tif' + os.fsdecode(b'\xe9'))", journal="{}"
    )
    assert line == r"<6>a\nb\r\x1b[2J\x85\u2028\x00ü 雪\u202e.tif\udce9"


def test_traceback_is_one_line() -> None:
    script = """
try:
    raise OSError("no disk")
except OSError:
    ours.exception("a.tif")
"""
    (line,) = lines(script, journal="{}")
    assert re.fullmatch(r"<3>a\.tif\\nTraceback .*\\nOSError: no disk", line)


def test_warnings_of_python_are_events_too() -> None:
    (line,) = lines("warnings.warn('no writable folder', RuntimeWarning)", journal="{}")
    assert re.fullmatch(r"<4>.*RuntimeWarning: no writable folder(\\n.*)?", line)
    assert not line.endswith(r"\n")


def test_whatever_was_set_up_before_is_replaced() -> None:
    script = "logging.basicConfig(format='%(name)s', force=True); log.setup(); log.setup(); ours.info('event')"
    assert lines(script, journal="{}") == ["<6>event"]
