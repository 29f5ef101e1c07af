"""Processes that a job hires for a part of its work: none of them outlives it."""

import gc
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")


class InlineExecutor(Executor):
    """An executor without processes: whoever submits something does it himself, and at once."""

    def submit(
        self, fn: Callable[Given, Made], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Future[Made]:
        """What `fn` made. Raises what it raises."""
        done: Future[Made] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def process_pool(processes: int) -> Executor:
    """So many processes; none beside this one where that is enough.

    They are spawned, not forked: the libraries of this one may have threads.
    """
    if processes == 1:
        return InlineExecutor()
    return ProcessPoolExecutor(processes, get_context("spawn"), initializer=_begin)


def _begin() -> None:
    # Without the collector's walks over what has been read, parsing source takes a quarter less.
    gc.disable()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when the job that began it was killed: it would wait for ever."""
    if (job := parent_process()) is not None:
        job.join()
        os._exit(1)
