"""A process that has everything imported and all kernels loaded: those that run the command are forked from it.

    python -m tests.warm

There are hundreds of runs, on a few small frames each, and most of the time would go into starting Python. Takes runs
as lines of JSON on stdin, and gives the exit code of each on stdout.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent
ENVIRONMENT = dict(os.environ)
"""Before any test changes it."""

LONGEST_S = 300


def run(arguments: Sequence[str], out: Path, err: Path) -> int:
    """Run ``dustwatch`` to its end in a process of its own, with what it says in files, and give its exit code."""
    told = {"arguments": arguments, "files": ["/dev/null", str(out), str(err)]}
    here = {"folder": str(Path.cwd()), "environment": dict(os.environ)}
    tell, hear = _server()
    try:
        tell.write(json.dumps(told | here) + "\n")
        tell.flush()
        return int(hear.readline())
    except BaseException:
        _server.cache_clear()  # lest the next run be told how this one ended
        raise


@cache
def _server() -> tuple[IO[str], IO[str]]:
    """Begin the process, for as long as this one lives: it ends with its stdin. It is no child of this one, among
    whose children tests look for any that were left behind.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.warm"],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.wait() == 0
    assert process.stdin
    assert process.stdout
    atexit.register(process.stdout.close)
    atexit.register(process.stdin.close)
    return process.stdin, process.stdout


def main() -> None:
    """See above."""
    if os.fork():
        return
    from dustwatch.daemon.cli import main as dustwatch
    from dustwatch.daemon.progress import silent
    from dustwatch.daemon.warm_up import compile_ahead, warm_up

    import_module("dustwatch.daemon.report")  # which the warming up does without
    compile_ahead(silent)
    with TemporaryDirectory() as folder:
        warm_up(Path(folder))
    for line in sys.stdin:
        told = json.loads(line)
        process = os.fork()
        if process == 0:
            _become(**told)
            dustwatch()
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


def _become(arguments: list[str], files: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be as if started anew: all that a process inherits is that of who asked for it."""
    for descriptor, file in enumerate(files):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    signal.alarm(LONGEST_S)


if __name__ == "__main__":
    main()
