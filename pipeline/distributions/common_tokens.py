"""The columns of two distributions that are of tokens which both vocabularies have."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.distributions.spans import Vocabularies

TeacherRows = Float[Tensor, "spans teacher_support"]
StudentRows = Float[Tensor, "spans vocabulary"]
OfCommon = Float[Tensor, "spans common"]


@dataclass(frozen=True)
class CommonTokens:
    """Log-probabilities in a row for each span, on the same tokens for both sides.

    A place without a common token (`is_common`) holds other ones: fill it before any sum.
    """

    teacher: OfCommon
    student: OfCommon
    is_common: Bool[Tensor, "spans common"]
    teacher_ids: Int[Tensor, "spans common"]
    student_ids: Int[Tensor, "spans common"]


def common_tokens(
    teacher: TeacherRows,
    student: StudentRows,
    ids: Int[Tensor, "spans k"] | None,
    vocabularies: Vocabularies | None,
) -> CommonTokens:
    """The common ones of the teacher's tokens, which are those in `ids`; None: all tokens.

    Where both share a vocabulary (None), all tokens are common.
    """
    if ids is None:
        columns = teacher.shape[-1] if vocabularies is None else len(vocabularies.shared)
        ids = torch.arange(columns, device=teacher.device)
        if vocabularies is not None:
            ids = ids[vocabularies.shared >= 0]
        teacher, ids = teacher[:, ids], ids.expand(len(teacher), -1)
    else:
        teacher = teacher[:, : ids.shape[-1]]
    student_ids = in_student_ids(ids, vocabularies)
    student = student.gather(-1, student_ids.clamp(min=0))
    return CommonTokens(teacher, student, student_ids >= 0, ids, student_ids)


def in_student_ids(
    teacher_ids: Int[Tensor, "*shape"], vocabularies: Vocabularies | None
) -> Int[Tensor, "*shape"]:
    """The student's tokens of the same bytes; -1 where there is none, or the column pads a head."""
    if vocabularies is None:
        return teacher_ids
    size = len(vocabularies.shared)
    return vocabularies.shared[teacher_ids.clamp(max=size - 1)].where(teacher_ids < size, -1)
