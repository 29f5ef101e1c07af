"""One way from text to ids: prompts begin once, responses are tokenized behind them, data are text.

Expected ids are what the tokenizer itself makes of whole texts, or of the parts between special
tokens, which it tokenizes apart.
"""

import pytest
from transformers import PreTrainedTokenizerFast
from word_pieces import BEGIN, END, TURN, byte_level, metaspace

from pipeline.data.encoding import Encoder
from pipeline.data.examples import Piece, join_pieces, prompt_pieces
from pipeline.settings.data import Template

KINDS = {
    "byte level": byte_level(),
    "adds BOS": byte_level(begins=True),
    "adds BOS and EOS": byte_level(begins=True, ends=True),
    "metaspace": metaspace("first"),
}
ANY = pytest.mark.parametrize("words", KINDS.values(), ids=KINDS)


def plain(words: PreTrainedTokenizerFast, text: str, as_text: bool = False) -> list[int]:
    return words(text, add_special_tokens=False, split_special_tokens=as_text)["input_ids"]


def spelt(words: PreTrainedTokenizerFast, ids: list[int]) -> str:
    """The text of tokens in the middle of a text: a decoder takes them for its beginning."""
    tokens = "".join(words.convert_ids_to_tokens(ids))
    return tokens.translate({ord("▁"): " ", ord("Ġ"): " ", ord("Ċ"): "\n"})


def test_a_prompt_has_what_the_tokenizer_puts_before_a_text_and_nothing_behind_it():
    prompt, begin = [Piece("Repeat cat dog\n", True)], KINDS["adds BOS"].bos_token_id
    for name, before in (("byte level", []), ("adds BOS", [begin]), ("adds BOS and EOS", [begin])):
        words = KINDS[name]
        assert Encoder(words).prompts([prompt]) == [[*before, *plain(words, "Repeat cat dog\n")]]


def test_a_template_that_begins_with_bos_begins_once():
    with_it, without = [Piece(f"{BEGIN}Repeat\n", True)], [Piece("Repeat\n", True)]
    first, second = Encoder(KINDS["adds BOS"]).prompts([with_it, without])
    assert first == second
    assert first.count(KINDS["adds BOS"].bos_token_id) == 1


def test_a_template_that_ends_with_eos_keeps_it():
    (ids,) = Encoder(KINDS["adds BOS and EOS"]).prompts([[Piece(f"Repeat cat{END}", True)]])
    assert ids[-1] == KINDS["adds BOS and EOS"].eos_token_id


@ANY
def test_a_response_is_tokenized_as_it_stands_behind_its_prompt(words: PreTrainedTokenizerFast):
    prompt, response = "Why is the sea blue?\n", "one two three"
    (pair,) = Encoder(words).pairs([[Piece(prompt, True)]], [response])
    assert not pair.is_merged
    together = pair.prompt_ids + pair.response_ids
    assert together == Encoder(words).prefix + plain(words, prompt + response)


def test_the_space_before_a_text_is_no_part_of_a_response():
    words = KINDS["metaspace"]
    (pair,) = Encoder(words).pairs([[Piece("sea?\n", True)]], ["one two"])
    assert words.convert_ids_to_tokens(plain(words, "one two"))[0].startswith("▁")
    assert not words.convert_ids_to_tokens(pair.response_ids)[0].startswith("▁")


@ANY
@pytest.mark.parametrize(("prompt", "response"), [("Repeat ", "cat dog"), ("Rep", "eat dog")])
def test_a_token_over_the_border_leaves_the_prompt_as_it_is_asked(
    words: PreTrainedTokenizerFast, prompt: str, response: str
):
    encoder = Encoder(words)
    (pair,) = encoder.pairs([[Piece(prompt, True)]], [response])
    assert pair.is_merged
    assert pair.prompt_ids == encoder.prompts([[Piece(prompt, True)]])[0]
    whole = words.decode(pair.prompt_ids + pair.response_ids, skip_special_tokens=True)
    assert whole == prompt + response


@ANY
def test_a_special_token_in_the_data_is_text_and_in_the_template_a_token(
    words: PreTrainedTokenizerFast,
):
    template = Template(with_input="{input}", without_input=TURN + "{instruction}" + TURN + "sun\n")
    asked = prompt_pieces(f"cat {END} sea", "", template)
    (pair,) = Encoder(words).pairs([asked], [f"sea {END} cat"])
    ids = pair.prompt_ids + pair.response_ids
    assert pair.has_special_text
    turn = words.convert_tokens_to_ids(TURN)
    first, second = (index for index, tokens in enumerate(ids) if tokens == turn)
    assert words.eos_token_id not in ids
    assert spelt(words, ids[first + 1 : second]) == f"cat {END} sea"
    assert spelt(words, ids[second + 1 :]) == f"sun\nsea {END} cat"


def test_between_special_tokens_the_text_is_that_of_the_tokenizer():
    words = KINDS["adds BOS"]
    asked = [Piece(f"[{TURN}", True), Piece(f"cat {BEGIN} sea", False), Piece(f"{TURN}]\n", True)]
    (ids,) = Encoder(words).prompts([asked])
    turn = [words.convert_tokens_to_ids(TURN)]
    inside = plain(words, f"cat {BEGIN} sea", as_text=True)
    outside = [plain(words, text) for text in ("[", "]\n")]
    assert ids == [words.bos_token_id, *outside[0], *turn, *inside, *turn, *outside[1]]


@ANY
def test_where_the_data_have_no_special_token_both_ways_agree(words: PreTrainedTokenizerFast):
    asked = [Piece(f"{BEGIN}Why {TURN} is ", True), Piece("the sea so", False), Piece(TURN, True)]
    assert Encoder(words)._escaped(asked) == plain(words, join_pieces(asked))


def test_a_special_token_made_of_data_and_template_is_text_too():
    words = KINDS["byte level"]
    asked = [Piece("sea", True), Piece("<|end", False), Piece("|>\n", True)]
    (pair,) = Encoder(words).pairs([asked], ["cat"])
    assert pair.has_special_text
    assert words.eos_token_id not in pair.prompt_ids
    assert words.decode(pair.prompt_ids) == "sea<|end|>\n"


def test_plain_text_has_special_tokens_as_text():
    words = KINDS["adds BOS and EOS"]
    (ids,) = Encoder(words).texts([f"sea {END} cat"])
    assert words.eos_token_id not in ids
    assert words.decode(ids) == f"sea {END} cat"
