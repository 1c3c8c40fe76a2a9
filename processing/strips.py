"""Which rows and tiles of a picture to visit, and how much around them to see. Integers only.

The division depends on the picture's size alone, never on the number of threads, so neither do the results.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """The pixels `start`..`stop` - 1 of one axis, seen with a halo as `low`..`high` - 1, inside the picture."""

    start: int
    stop: int
    low: int
    high: int

    @property
    def inner(self) -> slice:
        """Where the span lies in an array that holds it with its halo."""
        return slice(self.start - self.low, self.stop - self.low)


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of a picture."""

    rows: Span
    columns: Span

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns with the halo."""
        return self.rows.high - self.rows.low, self.columns.high - self.columns.low

    @property
    def inner(self) -> tuple[slice, slice]:
        """Where the tile lies in an array that holds it with its halo."""
        return self.rows.inner, self.columns.inner


def spans(length: int, size: int, halo: int) -> list[Span]:
    """Cut `length` pixels into spans of `size` (the last may be shorter), each with `halo` pixels around it."""
    return [
        Span(start, min(start + size, length), max(start - halo, 0), min(start + size + halo, length))
        for start in range(0, length, size)
    ]


def bands(height: int, row_bytes: int, *, budget_bytes: int, halo: int, multiple: int) -> list[Span]:
    """Cut `height` rows of `row_bytes` into spans that take at most `budget_bytes`, their halo besides.

    Each starts at a multiple of `multiple` rows; a span is never lower than that, whatever the budget.
    """
    rows = budget_bytes // max(row_bytes, 1)
    return spans(height, max(rows // multiple, 1) * multiple, halo)


def tiles(height: int, width: int, *, size: int, halo: int) -> list[Tile]:
    """Cut a picture into tiles of `size` x `size` pixels, row by row."""
    columns = spans(width, size, halo)
    return [Tile(row, column) for row in spans(height, size, halo) for column in columns]
