"""Clean the frames of a simulated roll in every way, and compare what comes out with the truth."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np

from dustwatch.processing.figures import Figures, figures, mean_figures, same_groups
from dustwatch.processing.scenes import landscape
from dustwatch.processing.simulate import Roll, RollParams, Scene
from tests.rolls import mask, receipt

from .masks import f1, labels
from .peers import DUSTBUST, above_background, band_curves, best_band, diffused, peers, sum_mask
from .rolls import Scanned, photographs, pixels, true_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dustwatch.daemon.progress import Step
    from dustwatch.processing.arrays import Mask, Plane, Scan

    from .masks import Labels
    from .peers import Peer

    SumMasks: TypeAlias = dict[int, dict[int, Mask]]
    """What dustbust finds in so many frames, on each glass that they lie on."""

SCANS, OURS = "the scans", "dustwatch, no oracle"

ORACLE_EVERY = 4
"""An oracle that is asked for one threshold in a whole roll looks at every so many-eth frame."""

MEMORY_FRAMES = 8
"""Landscapes that are kept: drawing those of a small roll anew would be most of the work."""


@dataclass(frozen=True, slots=True)
class Row:
    """How one method did: means over frames, or over rolls.

    `f1` is nan, and there are no `verdicts` on the grouping (one for each roll), where a method has none to show.
    `seconds` are wall time of a frame. Peers have one thread, but as many frames are worked on at a time as there are
    threads; ours has all threads, and its time alone includes starting, learning, reading and writing.
    """

    name: str
    figures: Figures
    f1: float
    seconds: float
    verdicts: tuple[str, ...] = ()


def mean_row(rows: Sequence[Row]) -> Row:
    """One method's rows in one; verdicts are collected."""
    return Row(
        rows[0].name,
        mean_figures([row.figures for row in rows]),
        float(np.mean([row.f1 for row in rows])),
        float(np.mean([row.seconds for row in rows])),
        tuple(verdict for row in rows for verdict in row.verdicts),
    )


def mean_rows(tables: Iterable[Sequence[Row]]) -> list[Row]:
    """Mean of each line over tables of the same lines."""
    return [mean_row(rows) for rows in zip(*tables, strict=True)]


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What the real command makes of the first `count` frames of a roll."""

    scanned: Scanned
    count: int

    @property
    def folder(self) -> Path:
        return self.scanned.folder / f"clean-{self.count}"

    def run(self, threads: int) -> float:
        """Run it; wall time of a frame in s."""
        command = [sys.executable, "-m", "dustwatch.daemon", "clean", *map(str, self.scanned.files[: self.count])]
        options = ["--output", str(self.folder), "--profile", self.scanned.profile, "--threads", str(threads)]
        started = time.perf_counter()
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - started) / self.count

    def frame(self, index: int) -> tuple[Scan, Mask]:
        """What became of the frame at `index`, and where it was changed."""
        file = self.folder / self.scanned.files[index].name
        picture = pixels(file)
        if receipt(self.folder, file.name)["status"] != "cleaned":
            return picture, np.zeros(picture.shape[:2], bool)
        return picture, mask(self.folder, file.name)

    def verdict(self) -> str:
        """Whether the receipts put together what lies on the same glass; a frame on an unknown one lies alone."""
        names = [file.name for file in self.scanned.files[: self.count]]
        found = [receipt(self.folder, name)["glass_id"] or name for name in names]
        true = true_groups(self.scanned.roll.params)[: self.count]
        return f"{'exact' if same_groups(found, true) else 'WRONG'} ({len(set(found))} found, {len(set(true))} true)"


@cache
def landscapes(seed: int) -> Scene:
    return lru_cache(maxsize=MEMORY_FRAMES)(landscape(seed))


class Bench:
    """Measures rolls of photographs with outlines of real dirt; of landscapes, and invented ones, where these lack."""

    def __init__(self, photos: Sequence[Path], outlines: Sequence[Mask], threads: int) -> None:
        self._photos, self._outlines, self._threads = photos, outlines, threads
        self._pool = ThreadPoolExecutor(threads)
        # As many frames are worked on at a time as there are threads.
        cv2.setNumThreads(1)

    def grouping(self, params: RollParams, step: Step) -> str:
        """Verdict on a roll. One step a frame."""
        with self._scanned(params) as scanned:
            for _ in self._pool.map(lambda index: scanned.write(index).glass_id, range(params.frames)):
                step()
            cleaned = Cleaned(scanned, params.frames)
            cleaned.run(self._threads)
            return cleaned.verdict()

    def against_peers(self, params: RollParams, slow: bool, step: Step) -> list[Row]:
        """Everybody on a roll of linear negatives, the slow ones if wanted. Two steps a frame."""
        with self._scanned(params) as scanned:
            masks = self._sum_masks(scanned, [params.frames], step)
            some = range(0, params.frames, ORACLE_EVERY)
            band = best_band(list(self._pool.map(lambda index: band_curves(scanned.read(index)), some)))
            return self._rows(scanned, masks, peers(*band, slow), step)[params.frames]

    def by_count(self, params: RollParams, counts: Sequence[int], step: Step) -> dict[int, list[Row]]:
        """The scans, dustbust and ours for the first `counts` frames of a roll of any kind. Two steps a frame."""
        with self._scanned(params) as scanned:
            return self._rows(scanned, self._sum_masks(scanned, counts, step), {}, step)

    @contextmanager
    def _scanned(self, params: RollParams) -> Iterator[Scanned]:
        """A roll of which no frame is written yet, in a folder that goes in the end."""
        scene = photographs(self._photos, params.seed) if self._photos else landscapes(params.seed)
        with tempfile.TemporaryDirectory() as folder:
            yield Scanned(Roll(params, scene, self._outlines), Path(folder))

    def _sum_masks(self, scanned: Scanned, counts: Sequence[int], step: Step) -> SumMasks:
        """Write the roll, and do what dustbust does with its first frames."""
        tone, groups = scanned.roll.params.tone, true_groups(scanned.roll.params)

        def look(index: int) -> tuple[Plane, Labels]:
            frame = scanned.write(index)
            return above_background(frame.scan, tone), labels(frame)

        sums: dict[int, Plane] = {}
        truth: dict[int, list[Labels]] = {}
        masks: SumMasks = {count: {} for count in counts}
        for index, (residual, label) in enumerate(self._pool.map(look, range(len(scanned.roll)))):
            group = groups[index]
            sums[group] = sums[group] + residual if group in sums else residual
            truth.setdefault(group, []).append(label)
            if index + 1 in masks:
                masks[index + 1] = {group: sum_mask(total, truth[group]) for group, total in sums.items()}
            step()
        return masks

    def _rows(self, scanned: Scanned, masks: SumMasks, others: Mapping[str, Peer], step: Step) -> dict[int, list[Row]]:
        """Rows for each number of frames that there are masks for: the scans, dustbust, the others and ours."""
        tone, groups = scanned.roll.params.tone, true_groups(scanned.roll.params)
        cleaned = {count: Cleaned(scanned, count) for count in masks}
        seconds = {count: made.run(self._threads) for count, made in cleaned.items()}

        def of_frame(index: int) -> dict[int, list[Row]]:
            frame = scanned.read(index)
            truth = labels(frame)

            def tried(name: str, clean: Peer, score: float = np.nan) -> Row:
                started = time.perf_counter()
                out = clean(frame)
                spent = time.perf_counter() - started
                return Row(name, figures(out, frame, tone), score, spent)

            def of_count(count: int) -> list[Row]:
                dirt = masks[count][groups[index]]
                picture, changed = cleaned[count].frame(index)
                return [
                    tried(SCANS, lambda frame: frame.scan),
                    tried(DUSTBUST, lambda frame: diffused(frame.scan, dirt), f1(dirt, truth)),
                    *(tried(name, clean) for name, clean in others.items()),
                    Row(OURS, figures(picture, frame, tone), f1(changed, truth), seconds[count]),
                ]

            return {count: of_count(count) for count in masks if index < count}

        found: dict[int, list[list[Row]]] = {count: [] for count in masks}
        for rows in self._pool.map(of_frame, range(len(scanned.roll))):
            for count, row in rows.items():
                found[count].append(row)
            step()
        means = {}
        for count, tables in found.items():
            *theirs, ours = mean_rows(tables)
            means[count] = [*theirs, replace(ours, verdicts=(cleaned[count].verdict(),))]
        return means
