"""Small conversations, chat templates that write them, and the ids that a template gives."""

from collections.abc import Sequence
from typing import Any

from word_pieces import END, TURN, byte_level

from pipeline.data.batch import Text
from pipeline.data.chat_encoding import ChatEncoder
from pipeline.data.conversations import Conversation
from pipeline.data.encoding import Pair
from pipeline.settings.data import ChatTemplate

WORDS = byte_level()
CHATML = (
    "{% for message in messages %}"
    f"{{{{ '{TURN}' + message.role + '\\n' }}}}"
    "{% if message.role == 'assistant' %}"
    "{% generation %}"
    f"{{{{ message.content + '{END}' }}}}"
    "{% endgeneration %}"
    "{% else %}"
    f"{{{{ message.content + '{END}' }}}}"
    "{% endif %}"
    "{{ '\\n' }}{% endfor %}"
    f"{{% if add_generation_prompt %}}{{{{ '{TURN}assistant\\n' }}}}{{% endif %}}"
)


def dialogue(*turns: str, system: str = "") -> list[dict[str, str]]:
    """The user and the assistant in turn."""
    roles = ("user", "assistant") * len(turns)
    messages = [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False)]
    return [{"role": "system", "content": system}] * bool(system) + messages


CONVERSATIONS = {
    "one turn": dialogue("Why is the sea blue?", "cat dog sun"),
    "several": dialogue(
        "sea?", "one two", "Repeat hat", "hat\nhat ", "why", "map", system="Be short"
    ),
    "a tool": [
        *dialogue("cup?"),
        {"role": "assistant", "content": "I look", "tool_calls": [{"name": "look"}]},
        {"role": "tool", "content": "three cups"},
        {"role": "assistant", "content": "three"},
    ],
    "a greeting": [{"role": "assistant", "content": "key?"}, *dialogue("the map", "the hat")],
}


def chat(messages: Sequence[dict[str, Any]], tools: Sequence[Any] = ()) -> Conversation:
    return Conversation(messages, tools, "here:1")


def pair(messages: Sequence[dict[str, Any]], source: str, **settings: Any) -> Pair:
    template = ChatTemplate(text=source, chat="mine.jinja", **settings)
    return ChatEncoder(WORDS, template, [WORDS.eos_token_id]).pair(chat(messages))


def text_of(pair: Pair) -> Text:
    return Text("a", pair.prompt_ids, pair.response_ids, earlier=pair.earlier)
