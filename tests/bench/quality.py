"""Measure how well dirt comes off simulated rolls: ours without any oracle, peers with all help they can use.

    python -m tests.bench.quality [--seeds 1 2 3] [--data DIR] [--output DIR] [--quick] [--peers-only]

Prints a Markdown table, and leaves it beside a plot in --output. The figures are those of
``dustwatch.processing.figures``. Seconds are wall time; ours alone include reading and writing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image
from scipy import ndimage

from dustwatch.processing.figures import CLEAN_D, INSIDE_D, Figures, figures, mean_figures, same_groups
from dustwatch.processing.scenes import landscape
from dustwatch.processing.simulate import Roll, RollParams, Scene, SimulatedFrame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from dustwatch.processing.arrays import Mask, Plane, Planes, Scan

mpl.use("agg")
from matplotlib import pyplot as plt

GAMMA = 2.2
REAL_DIRT_PX = 4976
"""Width of the scans from which the real outlines were taken."""

OURS = "dustwatch, no oracle"

DOG_GRID = [(fine, coarse, d) for fine, coarse in ((1.0, 4.0), (2.0, 8.0)) for d in (0.02, 0.04, 0.08, 0.16)]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    name: str
    figures: Figures
    seconds: float
    groups: str = ""


# Scenes and outlines


def photographs(files: Sequence[Path], seed: int) -> Scene:
    """Crops of photographs, in an order and at places that depend on the seed, some of them mirrored."""
    order = np.random.default_rng((seed, 9)).permutation(len(files))

    def scene(number: int, rows: int, columns: int) -> Planes:
        image = Image.open(files[order[number % len(files)]]).convert("RGB")
        rng = np.random.default_rng((seed, number, 3))
        scale = max(columns / image.width, rows / image.height)
        if scale > 1:
            size = (int(np.ceil(image.width * scale)), int(np.ceil(image.height * scale)))
            image = image.resize(size, Image.Resampling.LANCZOS)
        left = int(rng.integers(image.width - columns + 1))
        top = int(rng.integers(image.height - rows + 1))
        picture = np.asarray(image.crop((left, top, left + columns, top + rows)))
        if rng.random() < 0.5:
            picture = picture[:, ::-1]
        return (picture.astype(np.float32) / 255) ** np.float32(GAMMA)

    return scene


def real_outlines(files: Sequence[Path], width: int) -> list[Mask]:
    """Outlines of real dirt, at the size that they have in a frame of `width` px."""
    found = []
    for file in files:
        dirt = np.asarray(Image.open(file)) > 0
        size = (dirt.shape[1] * width // REAL_DIRT_PX, dirt.shape[0] * width // REAL_DIRT_PX)
        labels, _ = ndimage.label(np.asarray(Image.fromarray(dirt).resize(size)))
        for number, box in enumerate(ndimage.find_objects(labels), 1):
            outline = labels[box] == number
            if 3 <= outline.sum() < 4000:
                found.append(outline)
    return found


# Peers


def density(scan: Scan) -> Plane:
    """Mean over the channels of the density in D."""
    light = np.maximum(scan, 1) / np.float32(np.iinfo(scan.dtype).max)
    return np.asarray(-np.log10(light).mean(-1), np.float32)


def above_background(scan: Scan) -> Plane:
    """Density over the local background."""
    plane = density(scan)
    return np.asarray(plane - cv2.GaussianBlur(plane, (0, 0), 12), np.float32)


def to_8_bit(scan: Scan) -> npt.NDArray[np.uint8]:
    """All that cv2.inpaint takes."""
    return np.asarray((scan / 65535) ** (1 / GAMMA) * 255 + 0.5, np.uint8)


def pasted(scan: Scan, picture: npt.NDArray[np.uint8], mask: Mask) -> Scan:
    """`scan` with the 8-bit `picture` inside the mask only."""
    out = scan.copy()
    out[mask] = np.rint((picture[mask] / 255) ** GAMMA * 65535)
    return out


def inpainted(scan: Scan, mask: Mask, method: int) -> Scan:
    """cv2.inpaint, radius 4."""
    return pasted(scan, cv2.inpaint(to_8_bit(scan), mask.astype(np.uint8), 4, method), mask)


def diffused(scan: Scan, mask: Mask) -> Scan:
    """Fill from the edges inwards with 7x7 means, then let it diffuse."""
    values = np.where(mask[..., None], 0, scan).astype(np.float32)
    known = (~mask).astype(np.float32)
    while (known[mask] == 0).any():
        weight = cv2.blur(known, (7, 7))
        new = (known == 0) & (weight > 1e-6)
        values[new] = cv2.blur(values, (7, 7))[new] / weight[new][:, None]
        known[new] = 1
    for _ in range(20):
        values[mask] = cv2.blur(values, (7, 7))[mask]
    out = scan.copy()
    out[mask] = np.rint(values[mask])
    return out


def f1(mask: Mask, truth: Mask) -> float:
    return float(2 * (mask & truth).sum() / max(mask.sum() + truth.sum(), 1))


@dataclass(frozen=True, slots=True)
class Oracles:
    """What peers are told: the best mask of a sum for each true group, and the best parameters for the DoG."""

    sum_masks: dict[int, Mask]
    dog: tuple[float, float, float]


def ask_oracles(roll: Roll, frames: Iterable[SimulatedFrame]) -> Oracles:
    """Choose by F1 against the truth of `frames`, which are all of the roll's.

    dustbust's map is the plain mean of the residuals over the frames of a true group.
    """
    evidence: dict[int, Plane] = {}
    glass: dict[int, Plane] = {}
    dog = dict.fromkeys(DOG_GRID, 0.0)
    for group, frame in zip(true_groups(roll), frames, strict=True):
        evidence[group] = evidence.get(group, 0) + above_background(frame.scan)
        glass[group] = glass.get(group, 0) + frame.glass
        for parameters in DOG_GRID:
            dog[parameters] += f1(dog_mask(frame.scan, *parameters), frame.glass > INSIDE_D)
    masks = {}
    for group, total in evidence.items():
        count = true_groups(roll).count(group)
        mean, truth = total / count, glass[group] / count > INSIDE_D
        best = max(np.geomspace(0.004, 0.3, 60), key=lambda d, mean=mean, truth=truth: f1(mean > d, truth))
        masks[group] = mean > best
    return Oracles(masks, max(dog, key=lambda parameters: dog[parameters]))


def dog_mask(scan: Scan, fine: float, coarse: float, threshold: float) -> Mask:
    """Where a difference of Gaussians (sigmas in px) of the density is over a threshold in D."""
    plane = density(scan)
    band = cv2.GaussianBlur(plane, (0, 0), fine) - cv2.GaussianBlur(plane, (0, 0), coarse)
    return np.asarray(band > threshold)


def dog_median(scan: Scan, parameters: tuple[float, float, float]) -> Scan:
    """What the difference of Gaussians finds, replaced by the regional median."""
    return pasted(scan, cv2.medianBlur(to_8_bit(scan), 21), dog_mask(scan, *parameters))


def sobel_telea(scan: Scan) -> Scan:
    """Edges, closed to blobs, the small components of which are inpainted."""
    grey = cv2.cvtColor(to_8_bit(scan), cv2.COLOR_RGB2GRAY).astype(np.float32)
    edge = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    strong = (edge > edge.mean() + 2.5 * edge.std()).astype(np.uint8)
    closed = cv2.morphologyEx(strong, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
    blob = (stats[:, cv2.CC_STAT_AREA] >= 8) & (stats[:, cv2.CC_STAT_AREA] <= 2000)
    blob[0] = False
    mask = cv2.dilate(blob[labels].astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return inpainted(scan, mask, cv2.INPAINT_TELEA)


def divided(frame: SimulatedFrame) -> Scan:
    """Divide by the true transmittance of the glass: what no method that divides can beat."""
    lit = frame.scan * np.power(10.0, frame.glass)[..., None]
    return np.minimum(np.rint(lit), 65535).astype(np.uint16)


def peers(oracles: Oracles) -> dict[str, Callable[[SimulatedFrame], Scan]]:
    """Every peer by its name."""
    return {
        "the scans": lambda frame: frame.scan,
        "sum, background, ORACLE threshold, 7x7 diffusion (dustbust)": lambda frame: diffused(
            frame.scan, oracles.sum_masks[frame.glass_id]
        ),
        "cv2.inpaint Telea, TRUE mask": lambda frame: inpainted(frame.scan, frame.glass > CLEAN_D, cv2.INPAINT_TELEA),
        "cv2.inpaint Navier-Stokes, TRUE mask": lambda frame: inpainted(
            frame.scan, frame.glass > CLEAN_D, cv2.INPAINT_NS
        ),
        "DoG and threshold, regional median (best of a grid by truth)": lambda frame: dog_median(
            frame.scan, oracles.dog
        ),
        "Sobel, closing, components, Telea": lambda frame: sobel_telea(frame.scan),
        "true density and offset, divided (the limit of division)": divided,
    }


# Ours


def run_ours(scans: Path, output: Path, threads: int) -> float:
    """Run the real command over the folder; seconds of wall time."""
    started = time.perf_counter()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "dustwatch.daemon",
            "clean",
            str(scans),
            "--output",
            str(output),
            "--profile",
            "generic-negative",
            "--threads",
            str(threads),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def grouping(output: Path, roll: Roll) -> str:
    """Whether the receipts put together what lies on the same glass."""
    receipts = [json.loads((output / "receipts" / f"{name(i)}.json").read_text()) for i in range(len(roll))]
    found, true = [receipt["glass_id"] for receipt in receipts], true_groups(roll)
    verdict = "exact" if same_groups(found, true) else "WRONG"
    return f"{verdict} ({len(set(found))} found, {len(set(true))} true)"


def true_groups(roll: Roll) -> list[int]:
    """Which glass each frame lies on, as the roll's parameters have it."""
    p = roll.params
    return [sum(i >= wipe for wipe in p.wipes) * p.slots + i % p.slots for i in range(p.frames)]


# Running


def name(index: int) -> str:
    return f"frame-{index + 1:02d}.tif"


def written(roll: Roll, folder: Path) -> Iterator[SimulatedFrame]:
    """All frames of the roll, each of which is written into `folder` before it is handed on."""
    folder.mkdir()
    for index in range(len(roll)):
        frame = roll.frame(index)
        tifffile.imwrite(folder / name(index), frame.scan, photometric="rgb", metadata=None)
        yield frame


def measure(roll: Roll, folder: Path, threads: int, with_ours: bool) -> list[Row]:
    """All rows for one roll."""
    scans, cleaned = folder / "scans", folder / "clean"
    oracles = ask_oracles(roll, written(roll, scans))
    seconds = run_ours(scans, cleaned, threads) / len(roll) if with_ours else 0.0
    methods = peers(oracles)
    found: dict[str, list[Figures]] = {method: [] for method in methods}
    ours: list[Figures] = []
    spent = dict.fromkeys(methods, 0.0)
    for index in range(len(roll)):
        frame = roll.frame(index)
        for method, clean in methods.items():
            started = time.perf_counter()
            out = clean(frame)
            spent[method] += time.perf_counter() - started
            found[method].append(figures(out, frame))
        if with_ours:
            ours.append(figures(tifffile.imread(cleaned / name(index)), frame))
    rows = [Row(method, mean_figures(found[method]), spent[method] / len(roll)) for method in methods]
    if with_ours:
        rows.append(Row(OURS, mean_figures(ours), seconds, grouping(cleaned, roll)))
    return rows


def mean_rows(rolls: Sequence[Sequence[Row]]) -> list[Row]:
    """Mean of each method over the rolls."""
    rows = []
    for position, first in enumerate(rolls[0]):
        same = [roll[position] for roll in rolls]
        exact = sum(row.groups.startswith("exact") for row in same)
        rows.append(
            Row(
                first.name,
                mean_figures([row.figures for row in same]),
                float(np.mean([row.seconds for row in same])),
                f"{exact} of {len(same)} exact" if first.groups else "",
            )
        )
    return rows


def cells(row: Row) -> list[str]:
    f = row.figures
    return [
        f"{f.psnr_db:.1f}",
        f"{f.treated:.1%}",
        f"{f.harm:.3%}",
        f"{f.halo_harm:.2%}",
        row.groups,
        f"{row.seconds:.2f}",
    ]


def markdown(rows: Sequence[Row]) -> Iterator[str]:
    heads = ["", "inside dB", "treated", "harm", "halo harm", "grouping", "seconds a frame"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join([row.name, *cells(row)])} |"


def plot(rows: Sequence[Row], file: Path) -> None:
    """Inside the dirt as bars; what was treated against what was harmed beside it."""
    figure, (bars, plane) = plt.subplots(1, 2, figsize=(13, 4.6), layout="constrained")
    labels = [row.name.split(" (")[0].replace(", regional", ",\nregional") for row in rows]
    colours = ["#d9822b" if row.name == OURS else "#7d8590" for row in rows]
    bars.barh(labels, [row.figures.psnr_db for row in rows], color=colours)
    bars.invert_yaxis()
    bars.set_xlabel("PSNR inside the dirt, dB")
    bars.tick_params(axis="y", labelsize=8)
    for row, label, colour in zip(rows, labels, colours, strict=True):
        x, y = max(row.figures.harm, 1e-6) * 100, row.figures.treated * 100
        plane.plot(x, y, "o", color=colour)
        plane.annotate(label.split(",")[0], (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
    plane.set_xscale("log")
    plane.set_xlabel("clean pixels harmed, %")
    plane.set_ylabel("dirt treated, %")
    figure.savefig(file, dpi=130)
    plt.close(figure)


def main() -> None:
    arguments = parsed()
    base = RollParams(wipes=(14,))
    if arguments.quick:
        base, arguments.seeds = RollParams(frames=8, height=600, width=900, particles=65, wipes=(5,)), [1]
    photos = [] if arguments.quick else sorted((arguments.data / "photos").glob("*.jpg"))
    dirt = [] if arguments.quick else sorted((arguments.data / "dirt").glob("*.png"))
    outlines = real_outlines(dirt, base.width)

    @cache
    def scene(seed: int) -> Scene:
        made = photographs(photos, seed) if photos else landscape(seed)
        # A small roll's pictures fit in memory, and drawing them would be most of the work.
        return lru_cache(maxsize=base.frames)(made) if arguments.quick else made

    def roll(params: RollParams) -> Roll:
        return Roll(params, scene(params.seed), outlines)

    def measured(params: RollParams) -> list[Row]:
        with tempfile.TemporaryDirectory() as folder:
            return measure(roll(params), Path(folder), arguments.threads, not arguments.peers_only)

    def grouped(params: RollParams) -> str:
        with tempfile.TemporaryDirectory() as folder:
            scans, clean = Path(folder) / "scans", Path(folder) / "clean"
            for _ in written(roll(params), scans):
                pass
            run_ours(scans, clean, arguments.threads)
            return grouping(clean, roll(params))

    cv2.setNumThreads(arguments.threads)
    lines = [
        f"{len(arguments.seeds)} roll(s) of {base.frames} frames, {base.width} x {base.height}, "
        f"{base.particles} particles, glass wiped before frame {base.wipes[0] + 1}; "
        f"{f'{len(photos)} photographs' if photos else 'generated landscapes'}, "
        f"{f'{len(outlines)} real outlines of dirt' if outlines else 'invented outlines of dirt'}.",
        "",
    ]
    rolls = [measured(replace(base, seed=seed)) for seed in arguments.seeds]
    rows = mean_rows(rolls)
    single = [
        replace(row, name=f"{OURS}: roll {seed}")
        for seed, own in zip(arguments.seeds, rolls, strict=True)
        for row in own
        if row.name == OURS
    ]
    lines += markdown([*rows, *single])
    if not arguments.peers_only:
        few = replace(base, particles=base.particles * 60 // 260)
        lines += ["", "| grouping | " + " | ".join(f"roll {seed}" for seed in arguments.seeds) + " |"]
        lines += ["|---|" + "---|" * len(arguments.seeds)]
        for what, params in ((f"{few.particles} particles", few), ("two slots", replace(base, slots=2))):
            verdicts = [grouped(replace(params, seed=seed)) for seed in arguments.seeds]
            lines.append(f"| {what} | {' | '.join(verdicts)} |")
    table = "\n".join(lines)
    print(table)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "quality.md").write_text(table + "\n")
    plot(rows, arguments.output / "quality.png")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Dirt removal on simulated rolls, against the truth and peers.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one roll for each")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="photos/*.jpg, dirt/*.png")
    parser.add_argument("--output", type=Path, default=Path("bench-out"), help="where table and plot go")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one small roll of generated scenes")
    parser.add_argument("--peers-only", action="store_true", help="leave our own rows out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
