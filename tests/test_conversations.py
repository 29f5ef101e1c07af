"""Conversations: the very ids of the chat template, and answers alone are trained on.

What is expected comes from `apply_chat_template` itself, with and without its generation mask.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_tables import Row, files, gathered, jsonl
from tiny import llama
from transformers.utils.chat_template_utils import render_jinja_template
from word_pieces import BEGIN, END, TURN, byte_level

from pipeline.artifacts import artifact, schemas
from pipeline.data import conversations
from pipeline.data.batch import Text, collate, read_texts
from pipeline.data.chat_encoding import ChatEncoder, with_fixed_date
from pipeline.data.conversations import Conversation
from pipeline.data.encoding import Pair
from pipeline.data.examples import assign_ids, conversation_of, example_columns
from pipeline.data.rows import read_rows
from pipeline.evaluation import questions
from pipeline.generation import generate, sampler
from pipeline.models import vocabulary
from pipeline.reporting.analysis import token_examples
from pipeline.settings.data import ChatTemplate, TokensSettings
from pipeline.settings.generation import Sampling
from pipeline.stages.options import TokenizeOptions
from pipeline.stages.tokenize import encode, run

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
UNMARKED = CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")
BEGUN = "{{ bos_token }}" + CHATML.replace("message.content", "message.content | trim")
TEMPLATES = {"marked": CHATML, "unmarked": UNMARKED, "begun and trimmed": BEGUN}
# earlier answers lose their thoughts, as Qwen3's do
THOUGHTS = CHATML.replace(
    "{% generation %}", "{% generation %}{% if loop.last %}{{ 'think: no\\n' }}{% endif %}"
)
ANY = pytest.mark.parametrize("source", TEMPLATES.values(), ids=TEMPLATES)


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
CHATS = pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)


def chat(messages: Sequence[dict[str, Any]], tools: Sequence[Any] = ()) -> Conversation:
    return Conversation(messages, tools, "here:1")


def pair(messages: Sequence[dict[str, Any]], source: str, **settings: Any) -> Pair:
    template = ChatTemplate(text=source, chat="mine.jinja", **settings)
    return ChatEncoder(WORDS, template, [WORDS.eos_token_id]).pair(chat(messages))


def text_of(pair: Pair) -> Text:
    return Text("a", pair.prompt_ids, pair.response_ids, earlier=pair.earlier)


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


ROW = {"messages": CONVERSATIONS["several"]}
SHAPES: dict[str, Row] = {
    "messages": ROW,
    "ShareGPT": {
        "conversations": [
            {"from": {"user": "human", "assistant": "gpt"}.get(m["role"], "system")}
            | {"value": m["content"]}
            for m in CONVERSATIONS["several"]
        ]
    },
    "ShareGPT with a column for the system prompt": {
        "system": "Be short",
        "conversations": CONVERSATIONS["several"][1:],
        "tools": "[]",
    },
    "content in parts": {
        "messages": [
            m | {"content": [{"type": "text", "text": part} for part in (m["content"], "")]}
            for m in CONVERSATIONS["several"]
        ],
        "system": None,
    },
    "prompt and completion": {
        "prompt": CONVERSATIONS["several"][:-1],
        "completion": CONVERSATIONS["several"][-1:],
    },
    "a preference": {
        "prompt": CONVERSATIONS["several"][:-1],
        "chosen": CONVERSATIONS["several"][-1:],
        "rejected": [{"role": "assistant", "content": "no"}],
    },
    "a preference in whole": {"prompt": "sea?", "chosen": CONVERSATIONS["several"]},
}


def settings_of(file: str, **more: object) -> Any:
    settings = files(file, **more)
    return type(settings).model_validate(settings.model_dump() | {"template": "chat"})


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_of_every_shape_are_the_same_conversation(tmp_path: Path, shape: str):
    name, file = "train.jsonl", tmp_path / "train.jsonl"
    rows = [json.loads(json.dumps(SHAPES[shape]).replace("sea?", f"sea {n}?")) for n in range(9)]
    dataset = gathered(settings_of(jsonl(file, rows)))
    examples = [example for split in dataset.splits.values() for example in split]
    assert len({example.instruction for example in examples}) == 9
    example = next(example for example in examples if "sea 3?" in example.instruction)
    (row,) = (
        dict(zip(columns, values, strict=True))
        for columns in [example_columns([("a", example)], ChatTemplate())]
        for values in zip(*columns.values(), strict=True)
    )
    conversation = conversation_of(row)
    expected = json.loads(json.dumps(ROW["messages"]).replace("sea?", "sea 3?"))
    assert conversation.messages == expected
    assert conversation.location.endswith(f"{name}:4")
    assert row["responses"] == ["map"]
    assert row["prompt"].splitlines()[:2] == ["system: Be short", "user: sea 3?"]


def test_columns_of_parquet_tell_no_conversation_what_only_others_hold(tmp_path: Path):
    rows = []
    for number, name in enumerate(("city", "zone", "day", "unit", "page", "line")):
        schema = {"type": "object", "properties": {name: {"type": "string"}}}
        call = {"name": f"of_{name}", "arguments": {name: f"{number}"}}
        asking = {"role": "assistant", "content": "", "tool_calls": [{"function": call}]}
        turns = [*dialogue(f"what {name}?"), asking, {"role": "tool", "content": "1"}]
        answer = {"role": "assistant", "content": f"one {name}"}
        tool = {"function": {"name": f"of_{name}", "parameters": schema}}
        rows.append({"messages": [*turns, answer], "tools": [tool]})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert "unit" in f"{pq.read_table(tmp_path / 'a.parquet').to_pylist()[0]}"
    kept = {}
    for path in (jsonl(tmp_path / "a.jsonl", rows), str(tmp_path / "a.parquet")):
        chats = [
            conversations.of_row(row.own_values, None, "here:1") for row in read_rows(Path(path))
        ]
        kept[path] = [(chat.messages, chat.tools) for chat in chats if chat]
    (by_lines, by_columns) = kept.values()
    assert by_columns == by_lines == [(row["messages"], row["tools"]) for row in rows]


def test_a_null_that_a_line_of_json_holds_is_kept(tmp_path: Path):
    tool = {"name": "look", "parameters": {"depth": {"default": None}}}
    path = jsonl(tmp_path / "a.jsonl", [{"messages": dialogue("one", "two"), "tools": [tool]}])
    (row,) = read_rows(Path(path))
    chat = conversations.of_row(row.own_values, None, "here:1")
    assert chat is not None
    assert chat.tools == [tool]


def test_tools_may_come_as_the_text_of_a_list():
    tools = [{"name": "look"}]
    for column in (tools, json.dumps(tools)):
        conversation = conversations.of_row(ROW | {"tools": column}, None, "here:1")
        assert conversation is not None
        assert conversation.tools == tools


def test_instructions_are_conversations_of_one_turn(tmp_path: Path):
    rows: list[Row] = [
        {"instruction": f"Add {n}", "input": "and 1", "output": str(n + 1)} for n in range(9)
    ]
    settings = settings_of(jsonl(tmp_path / "a.jsonl", rows))
    (example, *_) = gathered(settings).splits["train"]
    assert example.chat == ""
    ((_, same),) = assign_ids(
        {"train": [example], "validation": [], "test": []}, settings.template
    )["train"]
    columns = example_columns([("a", same)], settings.template)
    assert set(columns) == set(schemas.EXAMPLES.names)
    assert columns["prompt"] == [f"{example.instruction}\n\nand 1"]


def turns(*pairs: tuple[str, object]) -> Row:
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


BAD = {
    "an unknown role": (turns(("user", "a"), ("narrator", "b")), r"turn 2 has the role 'narrator'"),
    "no answer": (turns(("system", "a"), ("user", "b")), "no turn of the assistant answers"),
    "no question": (turns(("system", "a"), ("assistant", "b")), "no turn of the assistant answers"),
    "a last word of the user": (
        turns(("user", "a"), ("assistant", "b"), ("user", "c")),
        "the last turn is of role user, not the assistant's; fix the row, or set .* drop",
    ),
    "an empty turn": (turns(("user", " "), ("assistant", "b")), "turn 1, of role user, is empty"),
    "content that is no text": (turns(("user", 3)), "turn 1 has the content 3, which is no text"),
    "a turn without a role": ({"messages": [{"content": "a"}]}, "turn 1 is .*, expected `role`"),
    "no turns": ({"messages": "hello"}, "no column 'instruction', there are: messages"),
    "an image": (
        turns(("user", [{"type": "text", "text": "a"}, {"type": "image", "text": None}])),
        "turn 1 has a part of type 'image'; only parts of text can be read",
    ),
    "a last answer of no weight": (
        {"messages": [*dialogue("a"), {"role": "assistant", "content": "b", "weight": 0}]},
        "the last turn has the weight 0",
    ),
    "half a weight": (
        {"messages": [*dialogue("a"), {"role": "assistant", "content": "b", "weight": 0.5}]},
        "turn 2 has the weight 0.5; allowed: 0, not trained on, or 1",
    ),
    "two system prompts": (
        turns(("system", "a"), ("user", "b"), ("assistant", "c")) | {"system": "d"},
        "both column 'system' and a turn hold a system prompt",
    ),
    "tools that are no list": (
        turns(("user", "b"), ("assistant", "c")) | {"tools": "look"},
        "column 'tools' holds 'look', expected a list",
    ),
    "an answer alone": ({"chosen": "Human: a Assistant: b"}, "no column 'prompt' has its question"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_row_that_is_no_conversation_is_named_by_file_and_row(case: str, tmp_path: Path):
    row, fault = BAD[case]
    file = jsonl(tmp_path / "train.jsonl", [ROW, row] * 5)
    with pytest.raises(ValueError, match=rf"train\.jsonl:2: .*{fault}") as refusal:
        gathered(settings_of(file))
    assert "\n" not in str(refusal.value)


def test_conversations_without_an_answer_can_be_left_out_and_are_counted(tmp_path: Path):
    rows = [turns(("user", f"a {n}"), ("assistant", "b")) for n in range(9)]
    rows += [turns(("user", "c")), turns(("user", "a"), ("assistant", "b"), ("user", "c"))]
    file = jsonl(tmp_path / "train.jsonl", rows)
    dataset = gathered(settings_of(file, empty_responses="drop"))
    assert sum(map(len, dataset.splits.values())) == 9
    assert "2 examples dropped: empty_responses" in dataset.warnings


def test_the_stage_keeps_what_is_trained_on(tmp_path: Path):
    data, words, out = (tmp_path / name for name in ("data", "words", "tokens"))
    template = ChatTemplate(chat="mine.jinja", text=CHATML)
    others = [{"messages": dialogue(f"cat {n}", "dog")} for n in range(5)]
    dataset = gathered(settings_of(jsonl(tmp_path / "a.jsonl", [ROW, *others])))
    examples = [example for split in dataset.splits.values() for example in split]
    (example,) = (each for each in examples if "Repeat hat" in each.instruction)
    data.mkdir()
    for split, rows in assign_ids({split: [example] for split in schemas.SPLITS}, template).items():
        schemas.write(data / f"{split}.parquet", example_columns(rows, template), schemas.EXAMPLES)
    settings = {"settings": {"template": template.model_dump()}, "id": "data"}
    artifact.write_json(data / artifact.MANIFEST, settings)
    WORDS.save_pretrained(words / "model")
    job = artifact.Job("tokens", "x", TokensSettings().model_dump())
    run(TokenizeOptions(job=job, data=data, tokenizer=words, out=out))

    expected = pair(CONVERSATIONS["several"], CHATML)
    (text,) = read_texts(out / "test.parquet")
    assert (list(text.prompt_ids), list(text.response_ids)) == (
        expected.prompt_ids,
        expected.response_ids,
    )
    assert text.earlier == expected.earlier
    assert vocabulary.conventions_of_texts(out).ends == [WORDS.eos_token_id]
    (shown,) = token_examples.read(out)
    assert [run.is_trained for run in shown.runs] == [False, True] * 3
    spelt = ["".join(run.tokens) for run in shown.runs if run.is_trained]
    assert spelt == [f"one two{END}", f"hat\nhat {END}", f"map{END}"]
    asked = questions.of_test_split(data, [text], None)
    assert asked.prompt_ids == {example.instruction: expected.prompt_ids}
