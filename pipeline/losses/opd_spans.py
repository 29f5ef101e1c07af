"""On-policy distillation by a teacher of another vocabulary: spans of the student's text rewarded.

K. Lu and Thinking Machines Lab, 2025. On-Policy Distillation. thinkingmachines.ai/blog, in the form
that rLLM's repository (rllm-org/rllm, rllm/trainer/distill) gives it between vocabularies: a
teacher's token that several of the student's lie in is shared out evenly among them. A span has
the log-likelihood a under the teacher and log q at each of the student's n tokens.

    by token, as there:    A_i = a / n - log q_i
    by span, ours:         A_i = a - Σ_j log q_j    at each token of the span

By span, the span is one action, and on the student's own text the gradient is in expectation that
of the reverse KL of R. Agarwal et al., 2024, arXiv:2306.13649, over spans; by token, a token has no
part in what the rest of its span earns. Where a span is one token of each, both are `opd`.

Departures: the student's log q is that of the student in training, as `opd` has it, where theirs is
that of the text's writing; advantages aren't clipped; where a span has several tokens on both
sides, its log-likelihood is shared out by span, not by overlapping bytes.
"""

from dataclasses import dataclass

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext, target_log_prob
from pipeline.distributions.spans import TeacherLogProbs
from pipeline.losses.opd import policy_gradient


@dataclass(frozen=True)
class Loss:
    """-r A with r = q / q_written of a token and A its part in its span's reward, held constant."""

    over_spans = True
    needs_sampled_texts = True
    on_sparse_support = "equal"  # it reads the target alone

    whole_span: bool = False  # whether each token of a span has the whole span's reward

    def __call__(
        self, teacher: TeacherLogProbs, student: LogProbs, tokens: TokenContext
    ) -> PerToken:
        spans = tokens.spans
        assert spans is not None
        own = target_log_prob(student, tokens.target).detach()
        a = spans.teacher_sums(target_log_prob(teacher, spans.teacher_target))
        if self.whole_span:
            advantage = (a - spans.student_sums(own))[spans.of_student]
        else:
            count = spans.student_last - spans.student_first + 1
            advantage = (a / count)[spans.of_student] - own
        return policy_gradient(student, tokens, advantage)
