"""Conversations in the shapes that data sets have them in, as messages of roles and content.

A row holds `messages` of role and content, ShareGPT's `conversations` of from and value, a `prompt`
with a `completion`, or, in a set of preferences, a `chosen` conversation. Its system prompt may
stand in a column `system`, its tools in a column `tools`. A conversation ends with an answer of the
assistant; what comes before it is what a model is asked.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Message = Mapping[str, Any]  # role and content, and what else a template may read: tool_calls, name

ROLES = ("system", "developer", "user", "assistant", "tool")
WEIGHT = "weight"  # of a turn, as OpenAI has it: one of 0 is not trained on, others are
SPEAKERS = {"human": "user", "gpt": "assistant", "observation": "tool"}  # ShareGPT's names


@dataclass(frozen=True)
class Conversation:
    """Messages, and the tools that the assistant may call."""

    messages: Sequence[Message]
    tools: Sequence[Any]
    location: str  # for error messages

    @property
    def answers(self) -> list[int]:
        """Places of the assistant's turns after the first one of the user: earlier ones greet.

        Those of weight 0 are left out.
        """
        roles = [message["role"] for message in self.messages]
        asked = roles.index("user") if "user" in roles else len(roles)
        counting = [message.get(WEIGHT, 1) != 0 for message in self.messages]
        places = range(asked + 1, len(roles))
        return [place for place in places if roles[place] == "assistant" and counting[place]]

    @property
    def fault(self) -> str:
        """What makes the conversation unfit to learn from, if anything does."""
        for number, message in enumerate(self.messages, start=1):
            may_be_empty = message["role"] == "tool" or message.get("tool_calls")
            if not message["content"].strip() and not may_be_empty:
                return f"turn {number}, of role {message['role']}, is empty"
        if self.messages and self.messages[-1].get(WEIGHT, 1) == 0:
            return "the last turn has the weight 0"
        if not self.answers:
            return "no turn of the assistant answers one of the user"
        last = self.messages[-1]
        if last["role"] != "assistant":
            return f"the last turn is of role {last['role']}, not the assistant's"
        return "" if last["content"].strip() else "the last turn has no text"

    @property
    def question(self) -> str:
        """All that comes before the last answer, for people to read and to find copies by."""
        before = self.messages[:-1]
        if len(before) == 1 and not self.tools and set(before[0]) == {"role", "content"}:
            return before[0]["content"]
        tools = [f"tools: {_json(self.tools)}"] if self.tools else []
        return "\n".join([*tools, *map(_line, before)])

    @property
    def opening(self) -> "Conversation":
        """The same up to the first answer, trained on or not: what later turns build on."""
        roles = [message["role"] for message in self.messages]
        first_answer = roles.index("assistant", roles.index("user"))
        return replace(self, messages=self.messages[: first_answer + 1])

    def with_answer(self, text: str) -> "Conversation":
        """The same with another last answer."""
        return replace(self, messages=[*self.messages[:-1], _turn("assistant", text)])

    def dumps(self) -> str:
        """The messages and tools as JSON."""
        return _json({"messages": self.messages, "tools": self.tools})


def loads(text: str, location: str) -> Conversation:
    """The conversation in a JSON text of `Conversation.dumps`."""
    return Conversation(**json.loads(text), location=location)


def single_turn(instruction: str, input: str, answer: str, location: str) -> Conversation:
    """A question with its answer as a conversation; an input follows after an empty line."""
    question = "\n\n".join(part for part in (instruction, input) if part.strip())
    return Conversation([_turn("user", question), _turn("assistant", answer)], [], location)


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _line(message: Message) -> str:
    more = {key: value for key, value in message.items() if key not in ("role", "content")}
    return f"{message['role']}: {message['content']}{f' {_json(more)}' if more else ''}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def of_row(values: Mapping[str, object], column: str | None, location: str) -> Conversation | None:
    """The conversation in the named column of a row, or under a usual name; None without one.

    Raises:
        ValueError: for turns that are none.
    """
    turns = _turns(values, column, location)
    if turns is None:
        return None
    if not isinstance(turns, list):
        raise ValueError(f"{location}: {turns!r:.60} is no list of turns")
    numbered = enumerate(turns, start=1)
    messages = [_message(turn, f"{location}: turn {number}") for number, turn in numbered]
    messages = [*_system(values.get("system"), messages, location), *messages]
    conversation = Conversation(messages, _tools(values.get("tools"), location), location)
    try:
        conversation.dumps()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{location}: its turns can't be written as JSON ({error})") from None
    return conversation


def _system(prompt: object, messages: Sequence[Message], location: str) -> list[Message]:
    """The system prompt of ShareGPT's column, as a message before those of the conversation."""
    if not isinstance(prompt, str) or not prompt.strip():
        return []
    if any(message["role"] == "system" for message in messages):
        raise ValueError(
            f"{location}: both column 'system' and a turn hold a system prompt; remove either"
        )
    return [_turn("system", prompt)]


def _tools(value: object, location: str) -> list[Any]:
    """The tools of a row, as a list or as the JSON text of one."""
    try:
        tools = json.loads(value) if isinstance(value, str) and value.strip() else value or []
    except (ValueError, RecursionError):
        tools = None
    if not isinstance(tools, list):
        raise ValueError(f"{location}: column 'tools' holds {value!r:.60}, expected a list")
    return tools


def _turns(values: Mapping[str, object], column: str | None, location: str) -> object:
    if column is not None:
        return values.get(column)
    for name in ("messages", "conversations"):
        if isinstance(values.get(name), list):
            return values[name]
    for name in ("chosen", "completion"):
        if name in values:
            return _joined(values.get("prompt"), values[name], f"{location}: column {name!r}")
    return None


def _joined(prompt: object, answer: object, place: str) -> object:
    """A prompt and its answer, each text or turns; an answer that begins otherwise is a whole."""
    if isinstance(answer, str):
        answer = [_turn("assistant", answer)]
        if prompt is None:
            raise ValueError(f"{place} holds text, and no column 'prompt' has its question")
    first = answer[0] if isinstance(answer, list) and answer else None
    if prompt is None or not isinstance(first, dict) or first.get("role") != "assistant":
        return answer
    before: object = [_turn("user", prompt)] if isinstance(prompt, str) else prompt
    return [*before, *answer] if isinstance(before, list) and isinstance(answer, list) else before


def _message(turn: object, place: str) -> Message:
    keys = set(turn) if isinstance(turn, dict) else set()
    if not isinstance(turn, dict) or not ({"role"} <= keys or {"from", "value"} <= keys):
        expected = "`role` and `content`, or `from` and `value`"
        raise ValueError(f"{place} is {turn!r:.60}, expected {expected}")
    speaker = turn.get("role", turn.get("from"))
    role = SPEAKERS.get(speaker, speaker) if isinstance(speaker, str) else speaker
    if role not in ROLES:
        allowed = ", ".join([*ROLES, *SPEAKERS])
        raise ValueError(f"{place} has the role {role!r}; allowed: {allowed}")
    if (weight := turn.get(WEIGHT)) not in (None, 0, 1):
        raise ValueError(f"{place} has the weight {weight!r:.40}; allowed: 0, not trained on, or 1")
    content = _text(turn.get("content", turn.get("value")), place)
    rest = {
        key: value
        for key, value in turn.items()
        if key not in ("role", "content", "from", "value") and value is not None
    }
    return {"role": role, "content": content, **rest}


def _text(content: object, place: str) -> str:
    """The text of a turn, which may come in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise ValueError(f"{place} has the content {content!r:.60}, which is no text")
    for part in content:
        kind = part.get("type", "text") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            what = f"of type {kind!r}" if kind else f"{part!r:.60}"
            raise ValueError(f"{place} has a part {what}; only parts of text can be read")
    return "".join(part["text"] for part in content)
