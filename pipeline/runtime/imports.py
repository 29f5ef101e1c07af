"""Importing what a process keeps until it ends."""

import gc
import importlib
from types import ModuleType


def import_for_good(name: str) -> ModuleType:
    """A module that the garbage collector leaves alone, now, later and at the process's end.

    Modules, classes and functions are hardly ever garbage, and looking again and again through
    those of torch and transformers takes as long as making them. All else that is alive by now is
    left alone as well, so this is for the start of a program.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
