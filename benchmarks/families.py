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
import re
import tempfile
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel

from benchmarks import tiny_families
from pipeline.generation import llama_forward
from pipeline.generation.engine import supports_ragged_batches
from pipeline.models import comparison, weights
from pipeline.models.layer_selection import select_layers

LIMIT = 120  # seconds for a family
KEPT = 3  # layers of those that a family's model has
EQUAL = "equal"
WIDTH = 100  # characters of an error that the table shows
TEXT = """# Model families

What `python -m benchmarks.families --out docs/families.md` found on a CPU in float32, with
{versions}. A tiny random model of each family for which transformers has a
causal language model is saved and loaded as the `models` stage does it. Then our logits are
compared with those of its own `forward`, and our greedy texts with those of `generate`: alone, and
in a batch of texts of unlike lengths. Equal means: no logit is off by more than {tolerance} of the
largest, and texts part only where two tokens are that near. The last column tells the same of three
of its four layers (`layers_of`), which must also be after saving and loading what they were before.

Of {total} families {used} are equal, {refused} are refused, and {left} could not be tried here.

The `models` stage makes the same comparison with every model that it prepares, whatever its family,
on a few tokens. A model that differs is refused there by name: before any job that would read it.
BART, Whisper and other encoder-decoders stand here for their decoders alone; saved with an encoder
they are refused. Of a model that reads images or sounds too, the text part is taken if transformers
has a class for it, and compared with the whole.

## Read and written as by transformers

Texts are written by our own arithmetic, by transformers' forward with texts of any age side by
side, or by the plain loop, in which texts begin together ([writing](writing.md)); the first is the
fastest.

{used_table}

## Refused

{refused_table}

## Not tried

A model of such a family is tried when it is prepared, as any other.

{left_table}
"""


@dataclass(frozen=True)
class Row:
    """What came of a family; what was not reached is empty."""

    family: str
    kind: str = ""  # the class that transformers has for it
    writer: str = ""  # what writes its texts here
    reading: str = ""
    writing: str = ""
    cut: str = ""
    untried: str = ""  # why there is no tiny model of it

    @property
    def outcomes(self) -> tuple[str, str, str]:
        """Of reading, writing, and the same once layers were taken out."""
        return self.reading, self.writing, self.cut

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
        found = here.recv() if here.poll(LIMIT) else Row(family, untried=f"no answer in {LIMIT} s")
    except EOFError:
        found = Row(family, untried="its process died")
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
        return Row(family, untried=_line(error))
    kind = type(model).__name__
    with tempfile.TemporaryDirectory() as folder:
        try:
            model.save_pretrained(folder)
            model = weights.load(folder).model
        except Exception as error:
            return Row(family, kind, reading=_line(error))
    reading = _outcome(comparison.reading_differences, model)
    writing = _outcome(comparison.writing_differences, model)
    row = Row(family, kind, _writer(model), reading, writing)
    return replace(row, cut=_outcome(cut_differences, model)) if row.usable else row


def _writer(model: PreTrainedModel) -> str:
    if llama_forward.is_supported(model):
        return "own arithmetic"
    return "side by side" if supports_ragged_batches(model) else "plain loop"


def cut_differences(model: PreTrainedModel) -> list[comparison.Difference]:
    """Where a model made of some layers of this one isn't what it was once saved and loaded."""
    cut = select_layers(model, KEPT).eval()
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
    """An error on a line, without the folder that happened to be used."""
    text = re.sub(r"\S*/tmp\S*: ", "", " ".join(str(error).split())).replace("|", "/")
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return kind + textwrap.shorten(text, WIDTH, placeholder=" ...")


def report(rows: list[Row]) -> str:
    """What stands in docs/families.md."""
    tried = [row for row in rows if not row.untried]
    used = [row for row in tried if row.usable]
    refused = [row for row in tried if not row.usable]
    left = [row for row in rows if row.untried]
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    return TEXT.format(
        versions=versions,
        total=len(rows),
        used=len(used),
        refused=len(refused),
        left=len(left),
        tolerance=comparison.TOLERANCE,
        used_table=_table(
            ["family", "class", "written by", "`layers_of`"],
            [[row.family, row.kind, row.writer, _shown(row.cut)] for row in used],
        ),
        refused_table=_table(
            ["family", "class", "reading", "writing"],
            [[row.family, row.kind, _shown(row.reading), _shown(row.writing)] for row in refused],
        ),
        left_table=_table(["family", "why"], [[row.family, row.untried] for row in left]),
    )


def _shown(outcome: str) -> str:
    return outcome if outcome == EQUAL else f"refused: {outcome}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["--"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    main()
