"""The command line of a stage: errors, signals and the check for finished work."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pipeline.artifacts import artifact
from pipeline.artifacts.lock import acquire_lock, release_locks
from pipeline.runtime.allocator import keep_freed_memory
from pipeline.runtime.inert import inert
from pipeline.runtime.progress import STOPPED, log
from pipeline.runtime.rank_variables import RANK
from pipeline.runtime.streams import prepare_streams
from pipeline.stages.options import JobOptions

REQUEUE = 75  # EX_TEMPFAIL: what is finished is kept, run me again
FULL = "make room and run again: what is finished is kept"
RIGHTS = "give this user the right to it and run again"
NO_INPUTS = ("out", "state", "tracker_folder")  # paths that are not read as artifacts
WAYS_OUT = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f) and run again",
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
    errno.EROFS: "mount it for writing and run again",
    errno.EIO: "check the disk and run again",
    errno.EMFILE: "allow more open files (ulimit -n 1024) and run again",
    errno.ENFILE: "close files of other programs and run again",
}


def inputs_of(options: JobOptions) -> dict[str, Path]:
    """The artifacts that a job reads, by role; several of one role are numbered."""
    inputs: dict[str, Path] = {}
    for role, value in vars(options).items():
        if isinstance(value, Path) and role not in NO_INPUTS:
            inputs[role] = value
        elif isinstance(value, tuple):
            inputs |= {f"{role}-{index}": path for index, path in enumerate(value)}
    return inputs


def begin(options: JobOptions) -> dict[str, Path]:
    """Locks what a job makes for this process, and exits with 0 if it is up to date.

    Returns the artifacts that the job reads, by role.
    """
    acquire_lock(options.out, log)
    inputs = inputs_of(options)
    if artifact.is_up_to_date(options.out, options.job, inputs):
        log(f"{options.out} is up to date: same code, same inputs")
        raise SystemExit(0)
    return inputs


def run(main: Callable[[], None]) -> None:
    """Runs a stage; errors that a user can fix end it with one line instead of a traceback."""
    prepare_streams()
    keep_freed_memory()
    on_stop(_leave)
    try:
        main()
        return
    except SystemExit as end:
        status = end.code
    except Exception as error:
        line = explained(error)
        if line is None:
            traceback.print_exception(error)
        else:
            print(inert(f"error: {line}"), file=sys.stderr)
        status = 1 if line is None else 2
    finally:
        release_locks()
    if RANK in os.environ and isinstance(status, int):
        _end_now(status)
    raise SystemExit(status)


def _end_now(status: int) -> NoReturn:
    """Ends a rank at once: others, or threads of libraries that wait for them, would hold it up.

    If the interpreter cleaned up, one in 60 on a busy machine would end with SIGABRT instead.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def on_stop(handler: Callable[[int, FrameType | None], None]) -> None:
    """Installs the handler of a request to stop, from a scheduler or by Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> None:
    log(f"{STOPPED} by signal {number}; finished work is kept, rerun to resume")
    raise SystemExit(REQUEUE)


def explained(error: Exception) -> str | None:
    """The error message with a way out; None for a bug of the program itself."""
    notes = getattr(error, "__notes__", [])
    cause: BaseException | None = error
    while cause is not None:  # a library may fail once more over what failed first
        # libraries in Rust and C++ report a full disk in their own kinds of errors
        for number, way_out in WAYS_OUT.items():
            if os.strerror(number) in str(cause):
                return "; ".join([str(cause), *notes, way_out])
        cause = cause.__context__
    return "; ".join([str(error), *notes]) if isinstance(error, ValueError | OSError) else None
