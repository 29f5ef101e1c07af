"""How annotations are checked while tests run: shapes by jaxtyping, all else by beartype."""

from collections.abc import Iterator
from contextlib import contextmanager

import jaxtyping
from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int may stand for a float


@contextmanager
def unchecked() -> Iterator[None]:
    """No annotation is checked: it takes nearly half of the time in which a tiny model is trained.

    For laws over many runs of code that other tests run checked.
    """
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
