"""A judge behind an endpoint: it writes greedily, and its answer is read from the text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

from pipeline.evaluation.judge_prompts import Answer
from pipeline.generation.endpoint import AnswerLog, Body, Client, ask
from pipeline.runtime.progress import ProgressLog

END_OF_THOUGHT = "</think>"
BEFORE = r"\W*(?:(?i:answer|verdict|rating|response)\W+)?"  # an answer, at the beginning of a text
BEHIND = r"(?!\w)(?:\s?/\s?10(?!\w))?(?:\s*$|\s*\n|\s*[^\w\s])"  # "A better one .." is no A
# 7.5, A/B, A = B and 7-8 are none, 7/10 is 7
UNDECIDED = r"(?![.,][0-9]*[1-9]|(?:[-–]|\s?=\s?|\s?/\s?(?!10\b))(?:{0}|[0-9]+)\b)"


@dataclass(frozen=True)
class ServedJudge:
    """A model of a server, and its answers so far."""

    name: str  # of the judge in the configuration
    client: Client
    log: AnswerLog
    answer_tokens: int

    def answers(self, questions: Sequence[str], allowed: Sequence[str]) -> list[Answer]:
        """The answer to each question, in their order."""
        settings = {"max_tokens": self.answer_tokens, "temperature": 0.0}
        bodies: list[Body] = [{"prompt": text, **settings} for text in questions]
        if self.client.endpoint.api == "chat":
            chats = [[{"role": "user", "content": text}] for text in questions]
            bodies = [{"messages": messages, **settings} for messages in chats]
        progress = ProgressLog(self.name, len(set(questions)), "questions")
        texts = [answer.text for answer in ask(self.client, bodies, self.log, progress)]
        return [Answer(choice_in(text, allowed), text, nan) for text in texts]


def choice_in(text: str, allowed: Sequence[str]) -> str | None:
    """The allowed answer that a text begins with, after any thoughts; None without one."""
    options = "|".join(sorted(map(re.escape, allowed), key=len, reverse=True))
    alone = UNDECIDED.format(options)
    answer = re.match(f"{BEFORE}({options}){alone}{BEHIND}", text.rpartition(END_OF_THOUGHT)[2])
    return answer[1] if answer else None
