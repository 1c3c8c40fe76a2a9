"""Fingerprints of many frames, fetched when they are asked for: together they need not fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar, overload

from cachetools import LRUCache, cached

if TYPE_CHECKING:
    from .fingerprint import Fingerprint

Item = TypeVar("Item")

_BYTES = 64 << 20
"""How much each holds in memory: up to 75 megapixels, that is a newcomer and all by which a glass is recognised."""


class Remembered:
    """The fingerprints that `load` gives, by numbers; those that were asked for last are held, as many as fit."""

    def __init__(self, load: Callable[..., Fingerprint]) -> None:
        self._get = cached(LRUCache(_BYTES, lambda one: one.nbytes))(load)

    def __call__(self, *numbers: int) -> Fingerprint:
        """That of these numbers. Raises what `load` does."""
        return self._get(*numbers)

    def forget(self) -> None:
        """Hold none any more."""
        self._get.cache_clear()


class Fetched(Sequence[Item]):
    """So many items, each made by `make` from its number whenever it is asked for."""

    def __init__(self, make: Callable[[int], Item], count: int) -> None:
        self._make, self._numbers = make, range(count)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        if isinstance(index, slice):
            return [self._make(number) for number in self._numbers[index]]
        return self._make(self._numbers[index])

    def __len__(self) -> int:
        return len(self._numbers)
