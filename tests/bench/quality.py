"""Measure how well dirt comes off simulated rolls: ours without any oracle, peers with all help they can use.

    python -m tests.bench.quality [--full | --quick] [--seeds 1 2 3] [--data DIR] [--output DIR] [--threads 2]

Prints Markdown tables, and leaves them beside a plot in --output. The figures are those of
``dustwatch.processing.figures``; F1 is that of the mask (``tests.bench.masks``), of ours that of the receipts.
"""

from __future__ import annotations

import argparse
import math
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from dustwatch.daemon.report import Reporter
from dustwatch.processing.density import Tone
from dustwatch.processing.simulate import RollParams

from .measure import OURS, Bench, Row, mean_rows
from .rolls import JPEG_QUALITY, real_outlines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dustwatch.daemon.progress import Step

    ByCount = Mapping[str, Mapping[int, Sequence[Row]]]

mpl.use("agg")
from matplotlib import pyplot as plt

ORANGE, GREY = "#d9822b", "#7d8590"

NEGATIVES, POSITIVES = "16-bit negatives", f"8-bit positives, JPEG {JPEG_QUALITY}"
INVERTED: dict[str, Any] = {"tone": Tone(dirt="brightens", encoding="srgb"), "maximum": 255}


@dataclass(frozen=True, slots=True)
class Series:
    """Rolls on one glass, of which the first `counts` frames are cleaned; `changes` to what others are like."""

    counts: tuple[int, ...]
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: `wiped` rolls against the peers, `series`, and the grouping of `grouped` rolls of any kind.

    There is a roll for each seed.
    """

    wiped: RollParams
    series: Mapping[str, Series]
    grouped: int
    slow_peers: bool = True


WIPED = RollParams(wipes=(14,))
BENCH = Plan(
    WIPED,
    {NEGATIVES: Series((4, 8, 16, 24, 50)), POSITIVES: Series((24,), INVERTED)},
    grouped=3,
    slow_peers=False,
)
FULL = Plan(
    WIPED,
    {
        name: Series((4, 8, 16, 24, 50), changes)
        for name, changes in {
            NEGATIVES: {},
            f"{NEGATIVES}, no jitter": {"jitter_px": 0.0},
            f"{NEGATIVES}, no turnover": {"turnover": 0.0},
            f"{NEGATIVES}, neither": {"jitter_px": 0.0, "turnover": 0.0},
            POSITIVES: INVERTED,
        }.items()
    },
    grouped=20,
)
QUICK = Plan(
    RollParams(frames=8, height=600, width=900, particles=65, wipes=(5,)),
    {NEGATIVES: Series((4, 8)), POSITIVES: Series((8,), INVERTED)},
    grouped=1,
)


def any_roll(like: RollParams, seed: int) -> RollParams:
    """A roll with few or many particles, none to two wipes at any time, and one to three slots in turn.

    On a frame of 1800 x 1200 lie 30 to 400 particles, and software crops up to 60 px off each edge; of every second
    roll it turns and mirrors some frames.
    """
    rng = np.random.default_rng((seed, 7))
    area = like.height * like.width / (1200 * 1800)
    return replace(
        like,
        particles=round(area * math.exp(rng.uniform(math.log(30), math.log(400)))),
        wipes=tuple(sorted(map(int, rng.choice(np.arange(1, like.frames), rng.integers(3), replace=False)))),
        slots=int(rng.integers(1, 4)),
        crop_px=like.width // 30,
        orientations=(1, 1, 3, 2, 6, 8) if seed % 2 == 0 else (1,),
        seed=seed,
    )


# Measuring


def against_peers(plan: Plan, seeds: Sequence[int], bench: Bench) -> list[list[Row]]:
    """A table for each seed."""
    with progress("against peers", 2 * plan.wiped.frames * len(seeds)) as step:
        return [bench.against_peers(replace(plan.wiped, seed=seed), plan.slow_peers, step) for seed in seeds]


def by_count(plan: Plan, seeds: Sequence[int], bench: Bench) -> ByCount:
    """The scans, dustbust and ours, means over the rolls, by series and number of frames."""
    found = {}
    with progress("by frames", sum(2 * max(series.counts) for series in plan.series.values()) * len(seeds)) as step:
        for name, series in plan.series.items():
            like = replace(plan.wiped, wipes=(), frames=max(series.counts), **series.changes)
            rolls = [bench.by_count(replace(like, seed=seed), series.counts, step) for seed in seeds]
            found[name] = {count: mean_rows(roll[count] for roll in rolls) for count in series.counts}
    return found


def grouping(plan: Plan, bench: Bench) -> list[tuple[RollParams, str]]:
    """Rolls with the verdict on each."""
    rolls = [any_roll(plan.wiped, seed) for seed in range(1, plan.grouped + 1)]
    with progress("grouping", plan.grouped * plan.wiped.frames) as step:
        return [(roll, bench.grouping(roll, step)) for roll in rolls]


@contextmanager
def progress(stage: str, steps: int) -> Iterator[Step]:
    """A bar on stderr, if that is a terminal."""
    with Reporter() as reporter:
        yield reporter.progress(stage, steps)


# Showing


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    return ["", *(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *lines))]


def cells(row: Row) -> list[str]:
    of = row.figures
    exact = sum(verdict.startswith("exact") for verdict in row.verdicts)
    return [
        f"{of.psnr_db:.1f}",
        f"{of.treated:.1%}",
        f"{of.harm:.3%}",
        f"{of.halo_harm:.2%}",
        "" if math.isnan(row.f1) else f"{row.f1:.3f}",
        f"{exact} of {len(row.verdicts)} exact" if len(row.verdicts) > 1 else "".join(row.verdicts),
        f"{row.seconds:.2f}",
    ]


CELLS = ["inside dB", "treated", "harm", "halo harm", "F1", "grouping", "seconds a frame"]


def peers_table(rolls: Sequence[Sequence[Row]], seeds: Sequence[int]) -> list[str]:
    """Means over the rolls, and ours for each."""
    single = [replace(rows[-1], name=f"{OURS}: roll {seed}") for seed, rows in zip(seeds, rolls, strict=True)]
    return markdown(["", *CELLS], [[row.name, *cells(row)] for row in (*mean_rows(rolls), *single)])


def count_table(series: ByCount) -> list[str]:
    """Ours by the number of frames, and what dustbust with its oracle makes of the same."""
    lines = []
    for name, by_frames in series.items():
        for count, (_, bust, ours) in by_frames.items():
            ahead = ours.figures.psnr_db - bust.figures.psnr_db
            harm = ours.figures.harm / bust.figures.harm if bust.figures.harm else math.inf
            theirs = [f"{bust.figures.psnr_db:.1f}", f"{bust.figures.harm:.3%}", f"{bust.f1:.3f}"]
            lines.append([name, str(count), *cells(ours), *theirs, f"{ahead:+.1f}", f"{harm:.2f}"])
    theirs = ["dustbust: inside dB", "harm", "F1", "ours - dustbust, dB", "ours / dustbust, harm"]
    return markdown(["one glass", "frames", *CELLS, *theirs], lines)


def grouping_table(rolls: Sequence[tuple[RollParams, str]]) -> list[str]:
    lines = [
        [str(p.seed), str(p.particles), ", ".join(str(wipe + 1) for wipe in p.wipes) or "-", str(p.slots), verdict]
        for p, verdict in rolls
    ]
    return markdown(["roll", "particles", "wiped before frame", "slots", "grouping"], lines)


def plot(rows: Sequence[Row], series: ByCount, file: Path) -> None:
    """Inside the dirt as bars; what was treated against what was harmed beside it; and by the number of frames."""
    figure, ((bars, plane), (decibels, f1)) = plt.subplots(2, 2, figsize=(13, 9), layout="constrained")
    labels = [row.name.split(" (")[0].replace(", regional", ",\nregional") for row in rows]
    colours = [ORANGE if row.name == OURS else GREY for row in rows]
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
    for number, (name, by_frames) in enumerate(series.items()):
        for line, who, style in ((1, "dustbust", "x--"), (2, "dustwatch", "o-")):
            own = [lines[line] for lines in by_frames.values()]
            look = {"color": f"C{number}", "label": f"{who}: {name}"}
            decibels.plot(list(by_frames), [row.figures.psnr_db for row in own], style, **look)
            f1.plot(list(by_frames), [row.f1 for row in own], style, **look)
    for axes, label in ((decibels, "PSNR inside the dirt, dB"), (f1, "F1 of the mask")):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set_xlabel("frames on the glass")
        axes.set_ylabel(label)
    f1.legend(fontsize=8)
    figure.savefig(file, dpi=130)
    plt.close(figure)


def main() -> None:
    arguments = parsed()
    plan: Plan = arguments.plan
    seeds = arguments.seeds
    photos = sorted((arguments.data / "photos").glob("*.jpg"))
    outlines = real_outlines(sorted((arguments.data / "dirt").glob("*.png")), plan.wiped.width)
    if plan is QUICK:
        seeds, photos, outlines = [1], [], []
    arguments.output.mkdir(parents=True, exist_ok=True)
    with (arguments.output / "quality.md").open("w") as file:

        def tell(lines: Sequence[str]) -> None:
            for to in (sys.stdout, file):
                print(*lines, sep="\n", file=to, flush=True)

        wiped = plan.wiped
        tell(
            [
                f"{len(seeds)} roll(s) of {wiped.frames} frames, {wiped.width} x {wiped.height}, "
                f"{wiped.particles} particles, glass wiped before frame {wiped.wipes[0] + 1}; "
                f"{f'{len(photos)} photographs' if photos else 'generated landscapes'}, "
                f"{f'{len(outlines)} real outlines of dirt' if outlines else 'invented outlines of dirt'}."
            ]
        )
        bench = Bench(photos, outlines, arguments.threads)
        peers = against_peers(plan, seeds, bench)
        tell(peers_table(peers, seeds))
        series = by_count(plan, seeds, bench)
        tell(count_table(series))
        tell(grouping_table(grouping(plan, bench)))
    plot(mean_rows(peers), series, arguments.output / "quality.png")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Dirt removal on simulated rolls, against the truth and peers.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one roll for each")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="photos/*.jpg, dirt/*.png")
    parser.add_argument("--output", type=Path, default=Path("bench-out"), help="where tables and plot go")
    parser.add_argument("--threads", type=int, default=2)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", dest="plan", action="store_const", const=FULL, help="all variants; takes hours")
    size.add_argument("--quick", dest="plan", action="store_const", const=QUICK, help="one small roll of landscapes")
    parser.set_defaults(plan=BENCH)
    return parser.parse_args()


if __name__ == "__main__":
    main()
