"""A chat template that gives the very prompt that a student was trained on.

A message of the user may have an `input` beside its `content`, as examples do; one without it gets
the prompt for examples without input. An answer of the assistant ends in EOS, as in training.
"""

import json
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from pipeline.data.encoding import Encoder
from pipeline.data.examples import PLACE, prompt_pieces
from pipeline.settings.data import AnyTemplate, ChatTemplate

CHAT = """\
{{%- if messages | length > 2 or messages[0].role != "user" %}}
{{{{- raise_exception("this model was trained on one question and its answer at a time") }}}}
{{%- endif %}}
{{%- set message = messages[0] %}}
{{%- if message.input is defined and message.input and message.input | trim %}}
{{{{- {with_input} }}}}
{{%- else %}}
{{{{- {without_input} }}}}
{{%- endif %}}
{{%- if messages | length > 1 %}}
{{{{- messages[1].content ~ {end} }}}}
{{%- endif %}}
"""
VALUES = {"instruction": "message.content", "input": '(message.input | default("", true))'}
QUESTIONS = (("Describe this.", ""), ("Describe this.", "  x = 1\n"), ("Why?", " "))


def chat_template(
    tokenizer: PreTrainedTokenizerBase, template: AnyTemplate
) -> str | dict[str, str] | None:
    """The template; None if this tokenizer reads its text as other tokens than in training.

    That can only be where it puts tokens before a text which it doesn't read in one. A chat
    template is that of the training itself.
    """
    if isinstance(template, ChatTemplate):
        return template.text or tokenizer.chat_template
    encoder = Encoder(tokenizer)
    prefix = "".join(tokenizer.convert_ids_to_tokens(encoder.prefix))
    text = CHAT.format(
        with_input=_expression(template.with_input, prefix),
        without_input=_expression(template.without_input, prefix),
        end=_literal(str(tokenizer.eos_token)),
    )
    prompts = encoder.prompts([prompt_pieces(*question, template) for question in QUESTIONS])
    is_same = all(
        token_ids(tokenizer, text, *question) == prompt
        for question, prompt in zip(QUESTIONS, prompts, strict=True)
    )
    return text if is_same else None


def token_ids(
    tokenizer: PreTrainedTokenizerBase, template: str, instruction: str, input: str
) -> Sequence[int]:
    """The prompt of an example as the chat template gives it."""
    message = {"role": "user", "content": instruction, "input": input}
    text = tokenizer.apply_chat_template(
        [message], chat_template=template, add_generation_prompt=True, tokenize=False
    )
    assert isinstance(text, str)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _expression(frame: str, prefix: str) -> str:
    """A prompt as an expression of Jinja, which trims none of its white space."""
    whole = frame if frame.startswith(prefix) else prefix + frame
    parts = enumerate(PLACE.split(whole))  # every other one is the name of a place
    terms = [VALUES[part] if index % 2 else _literal(part) for index, part in parts]
    return " ~ ".join(term for term in terms if term != _literal(""))


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
