"""A conformance kit for distillation losses: laws, float64 references and golden vectors.

    from distilbench_conformance import check, markdown

    def loss(student_logits, teacher_logits, labels, mask):  # labels are -100 outside responses
        return my_project.distillation_loss(student_logits[:, :-1], ...)

    print(markdown({"mine": check(loss, "reverse_kl")}))

The four tensors are aligned with the tokens: place t of the logits predicts token t + 1. The result
is the mean over the response tokens of the batch, or the loss of each predicted token.
"""

from distilbench_conformance.cases import Loss
from distilbench_conformance.kit import Verdict, check, explanations, markdown
from distilbench_conformance.references import DIVERGENCES
from distilbench_conformance.vectors import golden_vectors, write_vectors

__all__ = [
    "DIVERGENCES",
    "Loss",
    "Verdict",
    "check",
    "explanations",
    "golden_vectors",
    "markdown",
    "write_vectors",
]
