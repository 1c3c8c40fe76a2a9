"""Measure the peak memory of ``dustwatch clean`` over two frames, by their size.

    python -m tests.bench.memory [--megapixels 24 216] [--folder DIR]

Prints a Markdown table. DIR needs room for four files and the scratch files: some 30 bytes for each pixel.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.rolls import peak_of_clean


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak memory of dustwatch clean, by the size of the frames.")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[24, 216], help="sizes of frames")
    parser.add_argument("--folder", type=Path, help="where the frames go meanwhile; default: the system's")
    arguments = parser.parse_args()
    print("| megapixels a frame | 16-bit RGB, MB | peak memory, MB | MP/s |")
    print("|---|---|---|---|")
    for megapixels in arguments.megapixels:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as work:
            peak, seconds = peak_of_clean(megapixels, Path(work))
        print(
            f"| {megapixels:g} | {megapixels * 6:.0f} | {peak / 1e6:.0f} | {2 * megapixels / seconds:.1f} |", flush=True
        )


if __name__ == "__main__":
    main()
