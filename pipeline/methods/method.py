"""What a method is made of."""

from dataclasses import dataclass, field
from typing import Literal

READING = "fixed"  # the one policy whose texts are there before training


@dataclass(frozen=True)
class Method:
    """A loss on texts that a policy provides, and what it needs of the teacher."""

    title: str
    loss: str  # file in pipeline/losses
    source: str  # authors, year, arXiv id
    evidence: Literal["code", "full", "abstract"]  # what of it was read
    policy: str = READING  # file in pipeline/data_policies
    teacher: Literal["none", "text", "cache", "live"] = "cache"
    text: Literal["gold", "teacher"] = "gold"  # whose responses the fixed texts have
    update: str | None = None  # file in pipeline/teacher_updates, where the teacher learns too
    gold_weight: float = 0.0  # share of cross entropy in the loss, on text the student didn't write
    plain_text_weight: float = 0.0  # of a language-modelling term on plain text, added
    whole_vocabulary: bool = False  # whether its loss refuses the teacher's top K
    draws: int | None = None  # tokens drawn from the teacher at each place; null: its top K
    relabelling_stages: int = 0  # rounds of paired students that label each other's half
    defaults: dict[str, object] = field(default_factory=dict)  # where they differ from the fields
    departures: str = ""  # from the source, in a sentence each
