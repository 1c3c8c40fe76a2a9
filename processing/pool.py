"""Work on several threads at once, of which the results come in order and never pile up."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

IN_FLIGHT_BYTES = 64 << 20
"""What a thread pool may hold; of pieces larger than this it works on one at a time."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    threads: int,
    item_bytes: int,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    flight_bytes: int = IN_FLIGHT_BYTES,
    result_bytes: int | None = None,
) -> Generator[Result, None, None]:
    """``map(function, items)`` on `threads` threads, results in order, items taken only as they are needed.

    `item_bytes` is what one item takes in memory while it is worked on, and `result_bytes` what its result does until
    it is given, by default as much. So many are worked on at once as `flight_bytes` can hold, one at least; and as many
    more are taken ahead as it can hold besides, twice as many at most, so that no thread waits for the caller, nor for
    one slow item.
    """
    if threads == 1:
        yield from map(function, items)
        return
    workers = max(1, min(threads, flight_bytes // item_bytes))
    room = max(0, flight_bytes - workers * item_bytes) // (result_bytes or item_bytes)
    most = workers + min(room, 2 * workers)
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= most:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def ahead(threads: int, items: Generator[Item, None, None]) -> Generator[Item, None, None]:
    """The same items, each made by a thread of its own while the caller is busy with the one before.

    Unless there shall be but one thread.
    """
    if threads == 1:
        yield from items
        return
    making = Lock()

    def make() -> Item | None:
        with making:
            return next(items, None)

    pool = ThreadPoolExecutor(1)
    try:
        pending = pool.submit(make)
        while (item := pending.result()) is not None:
            pending = pool.submit(make)
            yield item
    finally:
        pool.shutdown()
        with making:  # if Ctrl-C comes while the thread starts, the pool does not know of it, and does not wait
            items.close()


def behind(threads: int, calls: Iterable[Callable[[], Result]]) -> Generator[Result, None, None]:
    """What the calls give, in their order, each made by a thread of its own while the next one is found.

    Unless there shall be but one thread.
    """
    if threads == 1:
        yield from (call() for call in calls)
        return
    with ThreadPoolExecutor(1) as pool:
        pending: Future[Result] | None = None
        for call in calls:
            before, pending = pending, pool.submit(call)
            if before is not None:
                yield before.result()
        if pending is not None:
            yield pending.result()
