"""G-OPD and ExOPD: on-policy distillation with a scaled reward, and a reference model beside it.

G-OPD, 2026. arXiv:2602.12125; details from their repository (dp_actor.py). OPD is reinforcement
learning with the reward log(p / p_0) and a KL penalty towards p_0, both with the same weight; here
the reward has a weight of its own. λ = 1 is OPD whatever p_0 is; above it (ExOPD) the student is to
go beyond its teacher, in the direction that leads from the reference to the teacher. p_0 is the
student before its training, which the source has too; it also takes the teacher before its own
reinforcement learning. Departure: their limit of 5 on importance weights is left out, which are 1
on text that serves the step it was written for.
"""

from dataclasses import dataclass

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext, target_log_prob
from pipeline.losses.opd import policy_gradient
from pipeline.methods.ranges import Positive


@dataclass(frozen=True)
class Loss:
    """-r A with A = λ (log p - log p_0) - (log q - log p_0) of the written token."""

    needs_sampled_texts = True
    needs_reference = True
    zero_when_equal = False  # unless λ is 1, a student may go beyond its teacher
    on_sparse_support = "equal"  # it reads the target alone

    reward_weight: Positive = 1.25  # λ

    def __call__(self, teacher: LogProbs, student: LogProbs, tokens: TokenContext) -> PerToken:
        reference = tokens.reference_log_probs
        assert reference is not None
        log_q = target_log_prob(student, tokens.target).detach()
        reward = target_log_prob(teacher, tokens.target) - reference
        return policy_gradient(student, tokens, self.reward_weight * reward - (log_q - reference))
