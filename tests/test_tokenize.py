"""Texts become ids: with an EOS to learn, and left out or cut, and counted, where too long."""

from pathlib import Path

import pytest
from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerFast
from word_pieces import byte_level

from pipeline.artifacts import artifact, schemas
from pipeline.data.batch import read_texts
from pipeline.data.encoding import Encoder
from pipeline.data.examples import Example, assign_ids, example_columns
from pipeline.models import vocabulary
from pipeline.models.language_model import load_tokenizer
from pipeline.models.vocabulary import tokenizer_digest
from pipeline.settings.data import Template, TokensSettings
from pipeline.settings.models import Tokenizer
from pipeline.stages.options import TokenizeOptions
from pipeline.stages.tokenize import Counts, Kept, encode, encode_plain, run
from pipeline.stages.train_tokenizer import END, train

TEXTS = ["the red cat sleeps in the barn", "the blue dog runs over a wide green field"] * 5
WORDS = train(TEXTS, Tokenizer(vocabulary_size=300))
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


def test_a_response_whose_first_token_would_be_the_prompt_s_too_is_tokenized_by_itself():
    kept = encode([example("a", "the c", "at")], WORDS, ROOMY)
    assert kept.columns["prompt_ids"][0] == WORDS.encode("the c", add_special_tokens=False)
    assert kept.columns["response_ids"][0][:-1] == WORDS.encode("at", add_special_tokens=False)


def counted(*batches: Kept) -> Counts:
    """The counts of a split in batches."""
    counts = Counts()
    for kept in batches:
        counts.add(kept)
    return counts


def test_counts_add_up_over_batches():
    limits = TokensSettings(prompt_tokens=12, response_tokens=12)
    rows = [example(f"{n}", "the cat", "runs " * (1 + 30 * (n % 2))) for n in range(6)]
    whole = counted(encode(rows, WORDS, limits))
    assert counted(*(encode([row], WORDS, limits) for row in rows)) == whole
    assert (whole.card()["examples"], whole.counted["long_responses"]) == (3, ["1", "3", "5"])


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
    card = counted(kept).card()
    assert (card["long_prompts"], card["long_responses"]) == (2, 2)


def test_the_end_counts_towards_the_limit():
    length = len(WORDS.encode("runs", add_special_tokens=False))
    rows = [example("a", "the cat", "runs")]
    exact, short = (
        encode(rows, WORDS, TokensSettings(prompt_tokens=100, response_tokens=length + more))
        for more in (1, 0)
    )
    assert exact.columns["example_id"] == ["a"]
    assert (short.columns["example_id"], len(short.counted["long_responses"])) == ([], 1)


def test_a_cut_text_keeps_its_start_within_all_limits_and_has_no_end():
    rows = [
        example("short", "the cat", "runs"),
        example("long-prompt", "the red cat sleeps in the barn " * 9, "runs"),
        example("long-response", "the cat", "the blue dog runs over the field " * 9),
    ]
    limits = TokensSettings(
        prompt_tokens=12, response_tokens=12, total_tokens=20, too_long="cut", bos=False
    )
    kept = encode(rows, WORDS, limits)
    whole = encode(rows, WORDS, TokensSettings(prompt_tokens=999, response_tokens=999))
    prompts, responses = kept.columns["prompt_ids"], kept.columns["response_ids"]
    whole_prompts, whole_responses = whole.columns["prompt_ids"], whole.columns["response_ids"]
    assert prompts == [ids[:12] for ids in whole_prompts]
    assert responses[0] == whole_responses[0]
    assert responses[1] == whole_responses[1][: 20 - 12]
    assert responses[2] == whole_responses[2][:12]  # its own limit comes before that of both
    card = counted(kept).card()
    assert (card["examples"], card["cut_prompts"], card["cut_responses"]) == (3, 1, 1)
    assert [ids[-1] == WORDS.eos_token_id for ids in responses] == [True, True, False]
    assert "don't teach to stop: long-response" in counted(kept).warnings("train")[1]


def test_a_total_limit_leaves_out_what_fits_both_of_the_others():
    rows = [example("a", "the red cat sleeps", "in the barn")]
    prompt, response = (
        len(encode(rows, WORDS, ROOMY).columns[f"{name}_ids"][0]) for name in ("prompt", "response")
    )
    fits, short = (
        encode(
            rows,
            WORDS,
            TokensSettings(
                prompt_tokens=prompt, response_tokens=response + 9, total_tokens=prompt + room
            ),
        )
        for room in (response, response - 1)
    )
    assert fits.columns["example_id"] == ["a"]
    assert (short.columns["example_id"], len(short.counted["long_responses"])) == ([], 1)


@pytest.mark.parametrize("total", [100, 200])
def test_a_total_that_limits_nothing_or_all_is_refused(total: int):
    with pytest.raises(ValueError, match=r"more than prompt_tokens \(100\) and less than both"):
        TokensSettings(prompt_tokens=100, response_tokens=100, total_tokens=total)


def test_texts_begin_with_bos_or_with_nothing_for_all_who_read_their_tokenizer(tmp_path: Path):
    begun = byte_level(begins=True)
    for bos, before in ((True, [begun.bos_token_id]), (False, [])):
        settings = ROOMY.model_copy(update={"bos": bos})
        out = tokenized(tmp_path / str(bos), begun, "runs", settings)
        (text,) = read_texts(out / "train.parquet")
        assert (begun.bos_token_id in text.prompt_ids) == bos
        assert Encoder(load_tokenizer(out)).prefix == before
        assert vocabulary.conventions_of_texts(out).before == before
        assert (
            load_tokenizer(out)("the cat")["input_ids"]
            == before + begun("the cat", add_special_tokens=False)["input_ids"]
        )


def test_plain_text_loses_nothing_in_pieces():
    text = "the red cat sleeps in the barn and the blue dog runs over the field"
    limits = TokensSettings(prompt_tokens=4, response_tokens=3)
    columns = encode_plain([text], WORDS, limits)
    assert columns["prompt_ids"] == [[WORDS.eos_token_id]] * len(columns["example_id"])
    assert max(map(len, columns["response_ids"])) == 7
    joined = [token for piece in columns["response_ids"] for token in piece]
    assert WORDS.decode(joined) == text


def test_a_trained_tokenizer_has_the_wished_size_and_takes_any_text():
    assert len(WORDS) == 300
    text = "Żółw β ‖ 猫 \t\n"
    assert WORDS.decode(WORDS.encode(text, add_special_tokens=False)) == text
    assert set(pre_tokenizers.ByteLevel.alphabet()) <= set(WORDS.get_vocab())
    assert WORDS.eos_token == END


def test_a_size_that_the_text_cannot_yield_is_refused():
    with pytest.raises(ValueError, match=r"tokenizer\.vocabulary_size = 5000: .* yields only \d+"):
        train(TEXTS, Tokenizer(vocabulary_size=5000))


def test_the_digest_tells_vocabularies_apart():
    again = train(TEXTS, Tokenizer(vocabulary_size=300))
    other = train(["quite other words"] * 9 + TEXTS, Tokenizer(vocabulary_size=300))
    assert tokenizer_digest(WORDS) == tokenizer_digest(again)
    assert tokenizer_digest(WORDS) != tokenizer_digest(other)


def test_special_tokens_in_the_data_are_counted_and_said():
    rows = [
        example("plain", "the cat\n", "runs"),
        example("special", "the dog\n", f"runs {END} and sleeps"),
    ]
    kept = encode(rows, WORDS, ROOMY)
    assert [ids.count(WORDS.eos_token_id) for ids in kept.columns["response_ids"]] == [1, 1]
    assert counted(kept).card()["special_texts"] == 1
    (warning,) = counted(kept).warnings("train")
    assert warning.startswith("1 train examples have the text of a special token, which is read as")
    assert warning.endswith(": special")


def test_tokens_over_the_border_are_counted_and_said():
    kept = encode([example("over", "the c", "at")], WORDS, ROOMY)
    assert counted(kept).card()["merged_borders"] == 1
    assert counted(kept).warnings("test")[0].endswith(": over")


def tokenized(
    folder: Path, words: PreTrainedTokenizerFast, response: str, settings: TokensSettings
) -> Path:
    """The artifact of one example in each split."""
    data, saved_words, out = (folder / name for name in ("data", "words", "tokens"))
    template = {"with_input": "{input}", "without_input": f"{END}{{instruction}}\n"}
    rows = [Example("the cat", "", (response,), "here")]
    by_split = assign_ids(dict.fromkeys(schemas.SPLITS, rows), Template(**template))
    data.mkdir(parents=True)
    for split, identified in by_split.items():
        columns_of = example_columns(identified, Template(**template))
        schemas.write(data / f"{split}.parquet", columns_of, schemas.EXAMPLES)
    manifest = {"settings": {"template": template}, "id": "data"}
    artifact.write_json(data / artifact.MANIFEST, manifest)
    words.save_pretrained(saved_words / "model")
    job = artifact.Job("tokens", "x", settings.model_dump())
    run(TokenizeOptions(job=job, data=data, tokenizer=saved_words, out=out))
    return out


def test_the_stage_keeps_tokenizer_and_template_with_the_texts(tmp_path: Path):
    out = tokenized(tmp_path, WORDS, f"runs {END}", ROOMY)
    (text,) = read_texts(out / "test.parquet")
    end = WORDS.eos_token_id
    assert (text.prompt_ids[0], text.prompt_ids.count(end)) == (end, 1)  # the template's
    assert (text.response_ids[-1], text.response_ids.count(end)) == (end, 1)
    assert load_tokenizer(out).decode(text.response_ids[:-1]) == f"runs {END}"
    assert vocabulary.conventions_of_texts(out).ends == [end]
    assert len(artifact.read_json(out / "card.json")["warnings"]) == len(schemas.SPLITS)
