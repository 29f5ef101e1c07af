"""Examples on disk: a large set of them takes memory for their places, and none for their texts."""

import mmap
import pickle
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import eq, index
from typing import SupportsIndex, overload

from pipeline.data.examples import Example


@dataclass(frozen=True, eq=False)
class StoredExamples(Sequence[Example]):
    """Examples in a nameless file that is mapped into memory: it goes with the last of them."""

    content: memoryview  # of the file
    places: Sequence[int]  # of the examples, in bytes

    def __len__(self) -> int:
        """The number of examples."""
        return len(self.places)

    def __eq__(self, other: object) -> bool:
        """Whether the other sequence holds equal examples in the same order."""
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    @overload
    def __getitem__(self, place: SupportsIndex) -> Example: ...

    @overload
    def __getitem__(self, place: slice) -> "StoredExamples": ...

    def __getitem__(self, place: SupportsIndex | slice) -> "Example | StoredExamples":
        """The example at a place, or the examples of a range."""
        if isinstance(place, slice):
            return StoredExamples(self.content, self.places[place])
        return pickle.loads(self.content[self.places[index(place)] :])

    def take(self, order: Iterable[int]) -> "StoredExamples":
        """The examples at some places, in their order."""
        return StoredExamples(self.content, array("q", (self.places[place] for place in order)))


def stored(examples: Iterable[Example]) -> StoredExamples:
    """The examples in a file of their own."""
    places = array("q")
    with tempfile.TemporaryFile() as file:
        file.write(b"\0")  # an empty file can't be mapped
        for example in examples:
            places.append(file.tell())
            pickle.dump(example, file, pickle.HIGHEST_PROTOCOL)
        file.flush()
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return StoredExamples(memoryview(content), places)
