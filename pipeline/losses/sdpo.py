"""SDPO: the student's own text, rewarded by a copy of it that was shown a right response.

J. Hübotter, F. Lübeck, L. Behric, et al., 2026. Reinforcement Learning via Self-Distillation.
arXiv:2601.20802; details from TRL's SDPO trainer: of several responses to a prompt, those whose
answers are right are shown to the teacher of the others, and the advantage of a token is the
teacher's log-probability minus the student's, as in `opd`. A response to whose prompt no other was
right has no loss. Its reward plays no further part.

Departures: a mean over all tokens of a step, theirs is over those with a loss; nothing is clipped,
for a text serves the step that it was written for. Their objective's other forms, beside GRPO and
as a divergence on the top tokens, are left out.
"""

from dataclasses import dataclass

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.losses.opd import log_ratio, policy_gradient


@dataclass(frozen=True)
class Loss:
    """-r A, A = log p - log q of the written token, where another response was right; else 0."""

    needs_sampled_texts = True
    needs_rewards = True
    needs_solutions = True
    on_sparse_support = "equal"  # it reads the target alone

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        gain = policy_gradient(student, tokens, log_ratio(teacher, student, tokens))
        return gain.where(tokens.has_solution, 0)
