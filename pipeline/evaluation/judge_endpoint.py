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
BEHIND = r"(?!\w)(?:/10)?(?:\s*$|\s*\n|\s*[^\w\s])"  # so that "A better one is .." is no A


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
    answer = re.match(f"{BEFORE}({options}){BEHIND}", text.rpartition(END_OF_THOUGHT)[2])
    return answer[1] if answer else None
