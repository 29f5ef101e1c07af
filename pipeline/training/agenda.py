"""What is due after a step of training, on all ranks alike: a line, a saved state, an end."""

import time
from dataclasses import dataclass

from pipeline.runtime.ranks import Ranks

LOG_SECONDS = 5.0
SAVING_SHARE = 0.1  # of the time at most: the state of a large model takes long to write
LOG, SAVE, SIGNAL = 1, 2, 4  # parts of the number that ranks agree on; signals are multiples


@dataclass(frozen=True)
class Due:
    """What is due now."""

    log: bool
    save: bool
    signal: int  # that asks for an end; 0 without one


class Agenda:
    """What is due: by the clock of the first rank, and by signals that may reach any rank."""

    def __init__(self, ranks: Ranks, save_seconds: float):
        self._ranks, self._save_seconds = ranks, save_seconds
        self._logged = self._saved = time.monotonic()
        self.signals: list[int] = []  # that have arrived

    def after_step(self, *, is_noted: bool) -> Due:
        """What is due now on all ranks; a line in the log where the step is noted, too."""
        now, wanted = time.monotonic(), 0
        if self._ranks.is_first:
            wanted += LOG * (is_noted or now - self._logged > LOG_SECONDS)
            wanted += SAVE * (now - self._saved > self._save_seconds)
        if self.signals:
            wanted += SIGNAL * self.signals[0]
        signal, wanted = divmod(self._ranks.highest(wanted), SIGNAL)
        if wanted & LOG:
            self._logged = now
        return Due(bool(wanted & LOG), bool(signal or wanted & SAVE), signal)

    def saved_in(self, seconds: float) -> None:
        """Puts the next saving off: by more where it takes long."""
        self._saved = time.monotonic()
        self._save_seconds = max(self._save_seconds, seconds / SAVING_SHARE)
