"""Work on several threads: nothing is lost, nothing overtakes, and nothing piles up."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dustwatch.processing.pool import ahead, behind, in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

threads = st.integers(1, 5)


@given(
    threads=threads,
    items=st.lists(st.integers()),
    item_bytes=st.integers(1, 10),
    flight_bytes=st.integers(1, 50),
    result_bytes=st.none() | st.integers(1, 10),
)
def test_results_come_in_order_and_only_so_many_are_in_work_or_wait(
    threads: int, items: list[int], item_bytes: int, flight_bytes: int, result_bytes: int | None
) -> None:
    lock = threading.Lock()
    taken = given_back = in_work = 0
    held, busiest = [0], [0]

    def each() -> Generator[int, None, None]:
        nonlocal taken
        for item in items:
            taken += 1
            held.append(taken - given_back)
            yield item

    def work(item: int) -> int:
        nonlocal in_work
        with lock:
            in_work += 1
            busiest.append(in_work)
        with lock:
            in_work -= 1
        return -item

    results = []
    for result in in_order(threads, item_bytes, work, each(), flight_bytes, result_bytes):
        results.append(result)
        given_back += 1
    assert results == [-item for item in items]
    assert max(busiest) <= threads
    assert max(busiest) * item_bytes <= flight_bytes or max(busiest) == 1
    waiting = max(held) - max(busiest)
    least = min(item_bytes, result_bytes or item_bytes)
    assert waiting * least <= flight_bytes
    assert max(held) <= 3 * threads


@given(threads=threads, items=st.lists(st.integers()))
def test_items_made_ahead_are_the_same(threads: int, items: list[int]) -> None:
    assert list(ahead(threads, (item for item in items))) == items


def test_an_item_is_made_while_the_caller_is_busy_with_the_one_before() -> None:
    second = threading.Event()

    def items() -> Generator[int, None, None]:
        yield 1
        second.set()
        yield 2

    made = ahead(2, items())
    assert next(made) == 1
    assert second.wait(10)
    assert list(made) == [2]


def test_what_goes_wrong_ahead_is_raised_in_its_turn() -> None:
    def items() -> Generator[int, None, None]:
        yield 1
        raise OSError("no more")

    made = ahead(2, items())
    assert next(made) == 1
    with pytest.raises(OSError, match="no more"):
        next(made)


@pytest.mark.parametrize("threads", [1, 2])
def test_who_makes_items_ahead_is_told_when_no_more_are_wanted(threads: int) -> None:
    told = []

    def items() -> Generator[int, None, None]:
        try:
            yield from range(100)
        finally:
            told.append(threading.current_thread())

    made = ahead(threads, items())
    next(made)
    made.close()
    assert told == [threading.main_thread()]


def test_ctrl_c_while_the_thread_starts_waits_for_what_it_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, told, start = threading.Event(), [], threading.Thread.start

    def start_interrupted(thread: threading.Thread) -> None:
        start(thread)
        assert begun.wait(10)
        raise KeyboardInterrupt

    def items() -> Generator[int, None, None]:
        begun.set()
        threading.Event().wait(0.1)
        told.append("made")
        try:
            yield 1
        finally:
            told.append("closed")

    monkeypatch.setattr(threading.Thread, "start", start_interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(ahead(2, items()))
    assert told == ["made", "closed"]


@given(threads=threads, items=st.lists(st.integers()))
def test_what_calls_give_comes_in_order(threads: int, items: list[int]) -> None:
    assert list(behind(threads, (partial(abs, item) for item in items))) == [abs(item) for item in items]


def test_a_call_is_made_while_the_next_is_found() -> None:
    made = threading.Event()

    def calls() -> Generator[Callable[[], None], None, None]:
        yield made.set
        assert made.wait(10)
        yield made.clear

    assert list(behind(2, calls())) == [None, None]
    assert not made.is_set()


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_of_a_call_comes_through_and_only_what_is_begun_is_ended(threads: int) -> None:
    made = []

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        list(behind(threads, iter([partial(made.append, 1), fail, partial(made.append, 2), partial(made.append, 3)])))
    assert made[0] == 1
    assert 3 not in made
