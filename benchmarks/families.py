"""Every family of causal language models, read and written here and by transformers alone.

python -m benchmarks.families [--out docs/families.md] [--only mamba,lfm2]

Of each family a tiny random model is made, saved, and loaded as the `models` stage does. Compared
are our logits with those of its own `forward`, and our greedy texts with those of `generate`, alone
and in a batch of texts of unlike lengths, on the CPU in float32; then the same of the model that
`layers_of` makes of it, which must also be the same before saving and after loading. A family that
can't be made tiny here is listed as not tried. Each is tried in a process of its own.
"""

import argparse
import multiprocessing
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import transformers
from transformers import PreTrainedModel

from benchmarks import tiny_families
from pipeline import weights
from pipeline.models import comparison
from pipeline.models.layers import layers_of
from pipeline.writing.decoder import can_write

LIMIT = 120  # seconds for a family
KEPT = 3  # layers of those that a family's model has
EQUAL = "equal"


@dataclass(frozen=True)
class Row:
    """What came of a family; what was not reached is empty."""

    family: str
    made: str = ""  # why there is no tiny model of it
    kind: str = ""
    reading: str = ""
    writing: str = ""
    cut: str = ""

    @property
    def usable(self) -> bool:
        """Whether a model of the family is prepared, rather than refused."""
        return self.reading == self.writing == EQUAL


def main() -> None:
    """Tries all families, or some, and prints or writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else tiny_families.families()
    rows = []
    for name in names:
        rows.append(tried(name))
        print(rows[-1], flush=True)
    if options.out:
        options.out.write_text(report(rows), encoding="utf-8")


def tried(family: str) -> Row:
    """The row of a family, made in a process that is ended after a time."""
    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_send, args=(family, there))
    child.start()
    there.close()
    try:
        found = here.recv() if here.poll(LIMIT) else Row(family, made=f"no answer in {LIMIT} s")
    except EOFError:
        found = Row(family, made="its process died")
    child.kill()
    child.join()
    return found


def _send(family: str, to: Connection) -> None:
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    to.send(row_of(family))


def row_of(family: str) -> Row:
    """Tries a family in this process."""
    try:
        model = tiny_families.model_of(family)
    except Exception as error:  # whatever a family's code raises is the finding
        return Row(family, made=_line(error))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kind = type(model).__name__
        try:
            model.save_pretrained(folder)
            model = weights.load(folder).model
        except Exception as error:
            return Row(family, kind=kind, reading=_line(error))
        reading = _outcome(comparison.reading_differences, model)
        writing = _outcome(comparison.writing_differences, model)
        how = " (side by side)" if can_write(model) else ""
        cut = _outcome(cut_differences, model) if (reading, writing) == (EQUAL, EQUAL) else ""
        return Row(family, "", kind + how, reading, writing, cut)


def cut_differences(model: PreTrainedModel) -> list[comparison.Difference]:
    """Where a model made of some layers of this one isn't what it was once saved and loaded."""
    cut = layers_of(model, KEPT).eval()
    before = comparison.own_logits(cut, comparison.probes(cut))
    with tempfile.TemporaryDirectory() as folder:
        cut.save_pretrained(folder)
        again = weights.load(folder).model
    after = comparison.own_logits(again, comparison.probes(again))
    changed = comparison.beyond("saved and read again", before, after)
    return [*changed, *comparison.differences(again)]


def _outcome(
    compare: Callable[[PreTrainedModel], list[comparison.Difference]], model: PreTrainedModel
) -> str:
    try:
        found = compare(model)
    except Exception as error:
        return _line(error)
    return "; ".join(map(str, found)) or EQUAL


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()).replace("|", "/")
    return f"{type(error).__name__}: {text:.110}"


def report(rows: list[Row]) -> str:
    """The table in Markdown."""
    return "\n".join(map(str, rows))


if __name__ == "__main__":
    main()
