"""How kernels are compiled."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from dustwatch.processing import kernel as module
from dustwatch.processing.kernel import kernel

if TYPE_CHECKING:
    from collections.abc import Callable


@kernel
def spin(values: npt.NDArray[np.float64], times: int) -> float:
    total = 0.0
    for _ in range(times):
        for value in values:
            total = total * 0.5 + value
    return total


def test_a_kernel_computes_what_its_source_says() -> None:
    assert spin(np.array([1.0, 2.0]), 1) == 2.5


def test_a_kernel_lets_other_threads_run() -> None:
    values = np.ones(1000)
    spin(values, 1)
    worker = threading.Thread(target=spin, args=(values, 100_000))
    worker.start()
    turns = 0
    while worker.is_alive():
        turns += 1
    assert turns > 1000


def test_without_a_place_for_the_cache_a_kernel_still_works_and_says_so() -> None:
    source = compile("def double(x):\n    return 2 * x\n", "<nowhere>", "exec")
    scope: dict[str, Callable[[int], int]] = {}
    exec(source, scope)
    with pytest.warns(RuntimeWarning, match="set NUMBA_CACHE_DIR to a writable folder"):
        double = kernel(scope["double"])
    assert double(21) == 42


def test_after_an_upgrade_kernels_know_the_new_constants_of_other_files(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    shutil.copy(module.__file__, package / "kernel.py")
    (package / "user.py").write_text(
        "from .constant import CONSTANT\nfrom .kernel import kernel\n\n\n"
        "@kernel\ndef get() -> int:\n    return CONSTANT\n"
    )
    for constant in ("1", "2", "2"):
        (package / "constant.py").write_text(f"CONSTANT = {constant}\n")
        words = [sys.executable, "-c", "from package.user import get; print(get())"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == constant
    assert len(list(package.glob("__pycache__/kernels-*"))) == 2
