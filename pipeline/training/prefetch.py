"""Work that is done in a thread before anybody needs its result."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")

DEPTH = 2  # items that are ready or in the making
_END = object()


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items in the same order, made ahead of their use; so are errors, raised in turn."""
    source = iter(items)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as thread:
        coming = deque(thread.submit(next, source, _END) for _ in range(DEPTH))
        while (item := coming.popleft().result()) is not _END:
            coming.append(thread.submit(next, source, _END))
            yield item
