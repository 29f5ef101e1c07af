"""An artifact whose pieces are made by several jobs, and by several ranks of each.

A job of a part makes its share of the pieces and leaves a marker. The job of the whole finds them,
makes those that are missing, and puts all together. The ranks of a job share its pieces in turn.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from pipeline.artifacts import artifact
from pipeline.artifacts.lock import acquire_lock_of_part, acquire_lock_of_whole
from pipeline.artifacts.part import Part
from pipeline.artifacts.resumable_parts import ResumableParts
from pipeline.models.language_model import parameter_count
from pipeline.runtime.costs import Cost, GraphCaptures, JobCost
from pipeline.runtime.meter import device_name
from pipeline.runtime.progress import log
from pipeline.runtime.ranks import Ranks, join
from pipeline.stages import command_line
from pipeline.stages.options import DividedOptions


@dataclass(frozen=True)
class DividedWork:
    """The pieces of an artifact, and which of them are for this process to make."""

    pieces: ResumableParts
    whole: Path
    part: Part | None  # None: all that is left of the whole
    ranks: Ranks

    def left(self, names: Sequence[str]) -> list[str]:
        """Those of the pieces that this process is to make, without the finished ones."""
        unfinished: list[str] = []
        if self.ranks.is_first:  # a look at a finished piece reads all of it
            names = self._of_part(names)
            unfinished = [name for name in names if not self.pieces.is_finished(name)]
        return self.ranks.share(self.ranks.gather(unfinished)[0])

    def puts_together(self, names: Sequence[str]) -> bool:
        """Whether this process is to put the whole together, now that its pieces are made.

        The other ranks and the jobs of parts end here, the latter with the part's marker.
        """
        self.ranks.barrier()
        if not self.ranks.is_first:
            return False
        if self.part is not None:
            self._mark(self.part, self._of_part(names))
        return self.part is None

    def _of_part(self, names: Sequence[str]) -> Sequence[str]:
        return names if self.part is None else self.part.share(names)

    def _mark(self, part: Part, names: Sequence[str]) -> None:
        marker = part.marker(self.pieces.folder, self.whole)
        with artifact.create(marker, self.pieces.job, self.pieces.inputs) as (_, facts):
            facts["pieces"] = [*names]
        log(f"part {part}: {len(names)} pieces are finished")

    @contextlib.contextmanager
    def create_whole(self) -> Iterator[tuple[Path, dict[str, object]]]:
        """The folder of the whole and the facts about it; once it is there, the pieces go."""
        whole = artifact.create(self.whole, self.pieces.job, self.pieces.inputs)
        with whole as (folder, facts):
            facts |= self.ranks.facts
            yield folder, facts
        self.pieces.discard()


def cost_of_pieces(
    facts: Sequence[Mapping[str, Any]], model: PreTrainedModel, rest: Cost | None = None
) -> JobCost:
    """The cost of pieces, whose facts these are, and of the rest of the work of their model."""
    cost = sum((Cost(**piece["cost"]) for piece in facts), rest or Cost())
    captures = GraphCaptures(**facts[-1].get("captures", {}))
    return JobCost(cost, device_name(model.device), parameter_count(model), captures=captures)


def begin(options: DividedOptions) -> DividedWork:
    """Locks what a job makes, for its ranks together, and exits with 0 if it is up to date."""
    ranks, inputs = join(), command_line.inputs_of(options)
    is_done = False
    if ranks.is_first:
        if options.part is not None:
            acquire_lock_of_part(options.part, options.out, options.state, log)
        else:
            acquire_lock_of_whole(options.out, options.state, log)
            is_done = artifact.is_up_to_date(options.out, options.job, inputs)
    if ranks.gather(is_done)[0]:
        log(f"{options.out} is up to date: same code, same inputs")
        raise SystemExit(0)
    pieces = ResumableParts(options.state, options.job, inputs)
    return DividedWork(pieces, options.out, options.part, ranks)
