"""Golden vectors: pairs of logits with the value and gradient of each base divergence, in float64.

A row of `golden_vectors.parquet` is a pair under a divergence at a weight. Other implementations
can be tested against the file alone, in any language that reads Parquet.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distilbench_conformance.references import DIVERGENCES, Row, softmax

PATH = Path(__file__).with_name("golden_vectors.parquet")
COLUMNS = {  # name, type and meaning
    "vector": (pa.int32(), "number of the row"),
    "pair": (pa.string(), "what kind of pair it is"),
    "divergence": (pa.string(), "name of the divergence"),
    "formula": (pa.string(), "p: teacher, q: student, w: weight"),
    "weight": (pa.float64(), "w; null where the formula has none"),
    "student_logits": (pa.list_(pa.float64()), "of one next token"),
    "teacher_logits": (pa.list_(pa.float64()), "of the same token"),
    "value_nats": (pa.float64(), "the divergence"),
    "gradient": (
        pa.list_(pa.float64()),
        "its derivatives by the student's logits; null where it has none",
    ),
}


def pairs() -> Iterator[tuple[str, Row, Row]]:
    """Kinds of pairs, with the student's and the teacher's logits."""
    draw = np.random.Generator(np.random.PCG64(11))
    for spread in (0.5, 2.0, 5.0):
        yield f"random, spread {spread}", *(spread * draw.standard_normal((2, 7)))
    teacher = 2 * draw.standard_normal(7)
    yield "nearly equal", teacher + 1e-2 * draw.standard_normal(7), teacher
    yield "equal but for a constant", teacher + 5.0, teacher
    certain = np.array([20.0, 0.0, 0.5, -1.0, -20.0, 1.0, 2.0])
    yield "both certain, of different tokens", np.roll(certain, 1), certain
    yield "a certain teacher", 0.1 * teacher, certain
    yield "a certain student", certain, 0.1 * teacher


def rows() -> Iterator[dict[str, object]]:
    """The rows of the file, by the references."""
    for kind, student, teacher in pairs():
        p, q = softmax(teacher), softmax(student)
        for name, divergence in DIVERGENCES.items():
            differentiable = divergence.smooth or not np.allclose(p, q)
            for weight in divergence.weights or (None,):
                yield {
                    "pair": kind,
                    "divergence": name,
                    "formula": divergence.formula,
                    "weight": weight,
                    "student_logits": student,
                    "teacher_logits": teacher,
                    "value_nats": divergence.value(p, q, weight or 0.0),
                    "gradient": divergence.gradient(p, q, weight or 0.0)
                    if differentiable
                    else None,
                }


def write_vectors(path: Path) -> int:
    """Writes the golden vectors; returns how many."""
    numbered = [{"vector": number, **row} for number, row in enumerate(rows())]
    fields = [
        pa.field(name, kind, metadata={"meaning": text}) for name, (kind, text) in COLUMNS.items()
    ]
    pq.write_table(pa.Table.from_pylist(numbered, pa.schema(fields)), path)
    return len(numbered)


def golden_vectors() -> list[dict[str, Any]]:
    """The golden vectors that the package carries, a dictionary for each."""
    return pq.read_table(PATH).to_pylist()
