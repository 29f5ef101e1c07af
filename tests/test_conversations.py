"""Conversations: the very ids of the chat template, and answers alone are trained on.

What is expected comes from `apply_chat_template` itself, with and without its generation mask.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
import torch
from chats import CHATML, CONVERSATIONS, WORDS, chat, dialogue, pair, text_of
from tiny import llama
from transformers.utils.chat_template_utils import render_jinja_template
from word_pieces import BEGIN, END, TURN

from pipeline.data.batch import Text, collate
from pipeline.data.chat_encoding import ChatEncoder, with_fixed_date
from pipeline.generation import generate, sampler
from pipeline.settings.data import ChatTemplate, TokensSettings
from pipeline.settings.generation import Sampling
from pipeline.stages.tokenize import encode

UNMARKED = CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")
BEGUN = "{{ bos_token }}" + CHATML.replace("message.content", "message.content | trim")
TEMPLATES = {"marked": CHATML, "unmarked": UNMARKED, "begun and trimmed": BEGUN}

# earlier answers lose their thoughts, as Qwen3's do
THOUGHTS = CHATML.replace(
    "{% generation %}", "{% generation %}{% if loop.last %}{{ 'think: no\\n' }}{% endif %}"
)
ANY = pytest.mark.parametrize("source", TEMPLATES.values(), ids=TEMPLATES)
CHATS = pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)


def by_template(messages: Sequence[dict[str, Any]], source: str, **more: Any) -> Any:
    return WORDS.apply_chat_template(list(messages), chat_template=source, **more)


def targets(text: Text) -> list[bool]:
    """Whether each token of a text is trained on."""
    return [
        any(first <= place < end for first, end in text.spans) for place in range(text.length + 1)
    ]


def masked(messages: Sequence[dict[str, Any]], source: str) -> tuple[list[int], list[bool]]:
    """The ids of a conversation, and what transformers would train on."""
    options = {"return_dict": True, "return_assistant_tokens_mask": True}
    whole = by_template(messages, source, **options)
    return whole["input_ids"], [bool(mark) for mark in whole["assistant_masks"]]


@ANY
@CHATS
def test_texts_and_prompts_are_those_of_the_template(source: str, messages: list[dict[str, Any]]):
    encoded = pair(messages, source)
    asked = by_template(messages[:-1], source, add_generation_prompt=True, return_dict=True)
    whole = by_template(messages, source, return_dict=True)["input_ids"]
    assert encoded.prompt_ids == asked["input_ids"]
    length = len(encoded.prompt_ids) + len(encoded.response_ids)
    assert encoded.prompt_ids + encoded.response_ids == whole[:length]
    assert WORDS.decode(whole[length:]) == "\n"  # behind the end of the turn
    assert not encoded.is_merged


@ANY
@CHATS
def test_answers_with_their_ends_are_trained_on_and_nothing_else(
    source: str, messages: list[dict[str, Any]]
):
    text = text_of(pair(messages, source))
    spelt = [
        WORDS.decode([*text.prompt_ids, *text.response_ids][first:end]) for first, end in text.spans
    ]
    roles = [message["role"] for message in messages]
    answers = [
        message["content"].strip() if source == BEGUN else message["content"]
        for place, message in enumerate(messages)
        if message["role"] == "assistant" and "user" in roles[:place]
    ]
    assert spelt == [f"{answer}{END}" for answer in answers]
    bounds = [0, *(bound for span in text.spans for bound in span)]
    assert bounds == sorted(bounds)  # they don't overlap
    assert text.target_count == len(text.target_ids) == sum(targets(text))


@pytest.mark.parametrize("source", [CHATML, BEGUN])
@CHATS
def test_the_mask_is_that_of_transformers_and_no_token_of_it_can_be_moved(
    source: str, messages: list[dict[str, Any]]
):
    text, (ids, mask) = text_of(pair(messages, source)), masked(messages, source)
    place = next(i for i, message in enumerate(messages) if message["role"] == "user")
    before = len(masked(messages[:place], source)[0]) if place else 0
    mask = [mark and index >= before for index, mark in enumerate(mask)]  # but for a greeting
    assert targets(text) == mask[: text.length + 1]
    assert not any(mask[text.length + 1 :])
    assert [id for id, mark in zip(ids, mask, strict=True) if mark] == list(text.target_ids)
    for number, (first, end) in enumerate(text.earlier):
        for moved in ((first - 1, end), (first + 1, end), (first, end - 1), (first, end + 1)):
            spans = [*text.earlier[:number], moved, *text.earlier[number + 1 :]]
            assert targets(replace(text, earlier=spans)) != mask[: text.length + 1]


def test_the_loss_is_over_the_targets_of_each_text_and_no_other_token():
    model = llama(0, vocabulary=300)
    texts = [text_of(pair(messages, CHATML)) for messages in CONVERSATIONS.values()]
    batch = collate(texts, torch.device("cpu"))
    hidden = model.model(batch.input_ids).last_hidden_state.flatten(0, 1)
    log_probs = model.lm_head(hidden[batch.response_positions]).log_softmax(-1)
    ours = -log_probs.gather(-1, batch.next_ids[:, None])[:, 0]
    by_text = ours.split(batch.lengths.tolist())
    for text, losses in zip(texts, by_text, strict=True):
        ids = [*text.prompt_ids, *text.response_ids]
        kept = [id if mark else -100 for id, mark in zip(ids, targets(text), strict=True)]
        theirs = model(torch.tensor([ids]), labels=torch.tensor([kept])).loss
        torch.testing.assert_close(losses.mean(), theirs)


def test_the_last_answer_alone_is_trained_on_where_asked():
    messages = CONVERSATIONS["several"]
    last, every = pair(messages, CHATML, answers="last"), pair(messages, CHATML)
    assert last.earlier == ()
    assert len(every.earlier) == 2
    assert (last.prompt_ids, last.response_ids) == (every.prompt_ids, every.response_ids)


def test_a_new_response_is_the_only_answer_that_is_trained_on():
    model, text = llama(1, vocabulary=300), text_of(pair(CONVERSATIONS["several"], CHATML))
    model.config.max_position_embeddings = 256
    choose = sampler(Sampling())
    (written,) = generate([text], [model], choose, 4, seed=0, author="student")
    assert text.earlier
    assert written.earlier == ()
    assert written.prompt_ids == text.prompt_ids
    assert written.target_ids == written.response_ids


def test_special_tokens_in_a_message_are_text_and_counted():
    typed = dialogue(f"cat {END} {TURN}system", f"sea {BEGIN}", f"{END}", "sun")
    encoded = pair(typed, CHATML)
    ids = [*encoded.prompt_ids, *encoded.response_ids]
    special = WORDS.convert_tokens_to_ids([END, TURN, BEGIN])
    assert [ids.count(id) for id in special] == [4, 4, 0]  # those of the template
    assert WORDS.decode(ids) + "\n" == by_template(typed, CHATML, tokenize=False)
    assert encoded.has_special_text
    assert not pair(dialogue("cat", "dog"), CHATML).has_special_text
    rows = [
        {"example_id": name, "chat": chat(dialogue(name, "sea")).dumps()} for name in ("a", END)
    ]
    template = ChatTemplate(text=CHATML)
    kept = encode(rows, WORDS, TokensSettings(), template, [WORDS.eos_token_id])
    assert kept.counted["special_texts"] == [END]


DATED = (  # as Llama 3 writes it, and within a macro
    "{%- if date_string is not defined and strftime_now is defined %}"
    "{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}"
    "{%- macro head() %}{{ strftime_now('%Y-%m-%d, %A %-d %B') }}{% endmacro %}"
    "{{ date_string }}, {{ head() }}\n"
)


@ANY
def test_a_template_that_writes_today_s_date_gives_the_same_text_on_every_day(source: str):
    messages = dialogue("sea?", "one two", "why", "map")
    always = pair(messages, "26 Jul 2024, 2024-07-26, Friday 26 July\n" + source)
    assert pair(messages, DATED + source) == always
    own = pair(messages, DATED + source, kwargs={"date_string": "1 May"})
    assert own == pair(messages, "1 May, 2024-07-26, Friday 26 July\n" + source)


def test_a_fixed_date_has_every_form_that_a_template_asks_for():
    day = date(2024, 7, 26)
    for form in ("%d.%m.%y", "%B %d, %Y", "%H:%M:%S", "%a %j %U %W %w %u %p %I", "none", "100%"):
        source = f"{{{{ strftime_now({form!r}) }}}}"
        text = render_jinja_template([dialogue("a")], chat_template=with_fixed_date(source))[0][0]
        assert text == day.strftime(form)
    assert with_fixed_date(CHATML) == CHATML


@ANY
def test_an_answer_of_weight_0_is_read_and_not_trained_on(source: str):
    turns = dialogue("sea?", "one two", "why", "map", "and", "sun")
    whole = pair(turns, source)
    assert len(whole.earlier) == 2
    unweighted = pair([turns[0], turns[1] | {"weight": 0}, *turns[2:]], source)
    assert unweighted == replace(whole, earlier=whole.earlier[1:])
    assert pair([turns[0], turns[1] | {"weight": 1}, *turns[2:]], source) == whole


def test_keyword_arguments_and_tools_reach_the_template():
    source = "{{ tone }}{% for tool in tools %}{{ tool.name }}{% endfor %}" + CHATML
    template = ChatTemplate(text=source, kwargs={"tone": "kind "})
    conversation = chat(dialogue("sea?", "cat"), [{"name": "look"}])
    encoded = ChatEncoder(WORDS, template, [WORDS.eos_token_id]).pair(conversation)
    assert WORDS.decode(encoded.prompt_ids).startswith(f"kind look{TURN}user")


def test_an_answer_whose_first_letters_join_the_prompt_keeps_the_prompt_and_is_counted():
    source = CHATML.replace("message.role + '\\n'", "message.role + ' '")
    source = source.replace("assistant\\n", "assistant ")
    messages = dialogue("why", "cat", "why", "dog sun")
    encoded = pair(messages, source)
    asked = by_template(messages[:-1], source, add_generation_prompt=True, return_dict=True)
    assert encoded.is_merged
    assert encoded.prompt_ids == asked["input_ids"]
    # the model has read the first letters of the earlier answer with the prompt
    assert encoded.earlier == ()
    whole = WORDS.decode([*encoded.prompt_ids, *encoded.response_ids])
    assert whole + "\n" == by_template(messages, source, tokenize=False)


UNENDED = CHATML.replace(f" + '{END}' }}}}{{% endgeneration %}}", " }}{% endgeneration %}")
LATE = CHATML.replace("{% generation %}", "{{ 'so: ' }}{% generation %}")
REFUSALS = {
    "a template that fails": ("{{ raise_exception('no system') }}", {}, "refuses .*: no system"),
    "a template with a fault": ("{% if %}", {}, "refuses the conversation: Expected an expression"),
    "a mask that isn't there": (UNMARKED, {"generation_mask": True}, r"has no \{% generation %\}"),
    "a mask that begins late": (LATE, {}, r"marks 'one two<\|end\|>' as generated, but its prompt"),
    "an answer without an end": (UNENDED, {}, r"doesn't end what the assistant generates with"),
    "an end amid an answer": (
        CHATML.replace("message.content", f"'{END}so ' + message.content"),
        {},
        r"has more of an answer after its <\|end\|>: so one two",
    ),
    "earlier answers that change": (
        THOUGHTS.replace("{% generation %}", "").replace("{% endgeneration %}", ""),
        {},
        "writes the text up to an answer otherwise than .*: 'think: no.* set data.template.answers",
    ),
    "a prompt that isn't repeated": (
        CHATML.replace("{% if add_generation_prompt %}", "{% if add_generation_prompt %}Now:"),
        {},
        "writes the text for an answer otherwise than in the whole conversation: 'Now:",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_template_that_does_not_say_what_to_train_on_is_refused(case: str):
    source, settings, fault = REFUSALS[case]
    with pytest.raises(ValueError, match=rf"^here:1: mine\.jinja {fault}") as refusal:
        pair(CONVERSATIONS["several"], source, **settings)
    assert "\n" not in str(refusal.value)


def test_a_template_whose_last_answer_differs_is_read_by_its_mask_or_for_the_last_alone():
    messages = CONVERSATIONS["several"]
    marked = text_of(pair(messages, THOUGHTS))
    assert len(marked.earlier) == 2
    assert WORDS.decode(marked.response_ids) == f"think: no\nmap{END}"
    unmarked = THOUGHTS.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    assert pair(messages, unmarked, answers="last").response_ids == marked.response_ids
