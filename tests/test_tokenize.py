"""Texts become ids whole: with an EOS to learn, and left out and counted where too long."""

import pytest
from tokenizers import pre_tokenizers

from pipeline.settings.data import TokensSettings
from pipeline.settings.models import Tokenizer
from pipeline.tokenize.stage import encode, encode_plain
from pipeline.tokenizer.stage import END, train
from pipeline.vocabulary import digest

TEXTS = ["the red cat sleeps in the barn", "the blue dog runs over a wide green field"] * 5
WORDS = train(TEXTS, Tokenizer(vocabulary=300))
ROOMY = TokensSettings(prompt_tokens=100, response_tokens=100)


def example(name: str, prompt: str, *responses: str) -> dict:
    return {"example_id": name, "prompt": prompt, "responses": list(responses)}


def test_the_end_is_a_target_and_no_part_of_the_prompt():
    kept = encode([example("a", "the cat", "sleeps", "runs")], WORDS, ROOMY)
    (prompt,), (response,) = kept.columns["prompt_ids"], kept.columns["response_ids"]
    assert response[-1] == WORDS.eos_token_id
    assert response.count(WORDS.eos_token_id) == 1
    assert WORDS.eos_token_id not in prompt
    assert WORDS.decode(prompt) == "the cat"
    assert WORDS.decode(response[:-1]) == "sleeps"


def test_prompt_and_response_are_tokenized_apart():
    kept = encode([example("a", "the c", "at")], WORDS, ROOMY)
    assert kept.columns["prompt_ids"][0] == WORDS.encode("the c", add_special_tokens=False)
    assert kept.columns["response_ids"][0][:-1] == WORDS.encode("at", add_special_tokens=False)


def test_too_long_texts_are_counted_and_left_out_whole():
    rows = [
        example("short", "the cat", "runs"),
        example("long-prompt", "the red cat sleeps in the barn " * 9, "runs"),
        example("long-response", "the cat", "the blue dog runs over the field " * 9),
        example("both", "the red cat sleeps in the barn " * 9, "the blue dog runs " * 20),
    ]
    limits = TokensSettings(prompt_tokens=12, response_tokens=12)
    kept = encode(rows, WORDS, limits)
    assert kept.columns["example_id"] == ["short"]
    assert (kept.long_prompts, kept.long_responses) == (2, 2)


def test_the_end_counts_towards_the_limit():
    length = len(WORDS.encode("runs", add_special_tokens=False))
    rows = [example("a", "the cat", "runs")]
    exact, short = (
        encode(rows, WORDS, TokensSettings(prompt_tokens=100, response_tokens=length + more))
        for more in (1, 0)
    )
    assert exact.columns["example_id"] == ["a"]
    assert (short.columns["example_id"], short.long_responses) == ([], 1)


def test_plain_text_loses_nothing_in_pieces():
    text = "the red cat sleeps in the barn and the blue dog runs over the field"
    limits = TokensSettings(prompt_tokens=4, response_tokens=3)
    columns = encode_plain([text], WORDS, limits)
    assert columns["prompt_ids"] == [[WORDS.eos_token_id]] * len(columns["example_id"])
    assert max(map(len, columns["response_ids"])) == 7
    joined = [one for piece in columns["response_ids"] for one in piece]
    assert WORDS.decode(joined) == text


def test_a_trained_tokenizer_has_the_wished_size_and_takes_any_text():
    assert len(WORDS) == 300
    text = "Żółw β ‖ 猫 \t\n"
    assert WORDS.decode(WORDS.encode(text, add_special_tokens=False)) == text
    assert set(pre_tokenizers.ByteLevel.alphabet()) <= set(WORDS.get_vocab())
    assert WORDS.eos_token == END


def test_a_size_that_the_text_cannot_yield_is_refused():
    with pytest.raises(ValueError, match=r"tokenizer\.vocabulary = 5000: .* yields only \d+"):
        train(TEXTS, Tokenizer(vocabulary=5000))


def test_the_digest_tells_vocabularies_apart():
    again = train(TEXTS, Tokenizer(vocabulary=300))
    other = train(["quite other words"] * 9 + TEXTS, Tokenizer(vocabulary=300))
    assert digest(WORDS) == digest(again)
    assert digest(WORDS) != digest(other)
