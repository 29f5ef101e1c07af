"""Steps in which some texts stay as they were drawn and the others are answered anew."""

from collections.abc import Sequence

from transformers import PreTrainedModel

from pipeline.data.batch import Text
from pipeline.generation import Choose, Drafted, write
from pipeline.generation.step_context import Turn


def rewritten(
    drawn: Sequence[Text],
    share: float,
    models: Sequence[PreTrainedModel],
    choose: Choose | Drafted,
    turn: Turn,
) -> list[Text]:
    """The drawn texts, each with a new response with probability `share`; the kept come first."""
    chosen = turn.rng.random(len(drawn)) < share
    asked = [text for text, anew in zip(drawn, chosen, strict=True) if anew]
    kept = [text for text, anew in zip(drawn, chosen, strict=True) if not anew]
    return kept + write(asked, models, choose, turn.max_new_tokens, turn.seed, "student")


def both(turn: Turn) -> list[PreTrainedModel]:
    """Student and teacher, for interleaved policies. Raises ValueError without a teacher."""
    if turn.teacher is None:
        raise ValueError("this data policy asks the teacher for tokens; its method needs 'live'")
    return [turn.student, turn.teacher]
