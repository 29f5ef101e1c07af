"""A process pool that ends with its job."""

import gc
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class InlineExecutor(Executor):
    """Runs submitted work inline, in the calling process."""

    def submit(
        self, fn: Callable[Arguments, Result], /, *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Future[Result]:
        """A finished future with the result of `fn`, whose errors are raised at once."""
        done: Future[Result] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def process_pool(processes: int) -> Executor:
    """A pool of processes, or an inline executor for one.

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
