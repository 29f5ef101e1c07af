"""A checkpoint before lm-eval: what HFLM computes, in other batches and with another generator."""

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from test_heldout import PAIRS, SHAPE, WORDS
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from word_pieces import byte_level

from pipeline.data.batch import Text
from pipeline.evaluation.lm_eval_model import CheckpointLM
from pipeline.models.reconcile import reconcile_tokenizer
from pipeline.settings.data import TokensSettings
from pipeline.settings.models import Shape
from pipeline.stages.prepare_model import from_shape
from pipeline.stages.tokenize import encode

LONG = " ".join(f"The {animal} sleeps in the barn." for animal in ("cat", "dog", "owl", "fox") * 20)
CHOICES = [" cat", " dog", " owl", " The", " the blue dog", ""]


def model(seed: int = 1, positions: int = 512):
    shape = Shape(**SHAPE.model_dump())
    made = from_shape(shape, WORDS, seed).eval()
    reconcile_tokenizer(made, WORDS)
    made.config.max_position_embeddings = positions
    return made


def likelihoods() -> list[Instance]:
    """Continuations that share a context, an empty context, a long text, white space between."""
    pairs = [("Where is the cat? It is the", choice) for choice in CHOICES if choice]
    pairs += [("", "The owl sleeps."), (LONG, " And so on."), ("A word ", "and one more")]
    pairs += [(prompt, f" {response}") for prompt, response in PAIRS]
    return [Instance("loglikelihood", {}, pair, 0) for pair in pairs]


@pytest.mark.parametrize("budget", [1, 40, 4000])
def test_likelihoods_are_those_of_hflm_whatever_the_batches(budget: int):
    positions = 96  # fewer than the long text has: its beginning is lost, as HFLM has it
    plain = HFLM(pretrained=model(positions=positions), tokenizer=WORDS, batch_size=1)
    expected = plain.loglikelihood(likelihoods(), disable_tqdm=True)
    ours = CheckpointLM(model(positions=positions), WORDS, budget).loglikelihood(likelihoods())
    for (log_prob, greedy), (wanted, is_greedy) in zip(ours, expected, strict=True):
        assert log_prob == pytest.approx(wanted, rel=1e-5)  # float32, padded differently
        assert greedy == is_greedy


def test_choices_after_one_question_are_read_once():
    lm = CheckpointLM(model(), WORDS, 4000)
    context = WORDS.encode("Where is the cat? It is the")
    choices = [WORDS.encode(letter, add_special_tokens=False) for letter in "ABCD"]
    readings = list(lm._share([(None, context, ids) for ids in choices if len(ids) == 1]))
    assert len(readings) == 1
    assert len(readings[0].requests) > 1


@pytest.mark.parametrize("budget", [30, 4000])
def test_the_likelihood_of_a_whole_text_is_that_of_hflm(budget: int):
    asked = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in (LONG, "The owl.", "")]
    plain = HFLM(pretrained=model(positions=50), tokenizer=WORDS, batch_size=2)
    expected = plain.loglikelihood_rolling(asked, disable_tqdm=True)
    ours = CheckpointLM(model(positions=50), WORDS, budget).loglikelihood_rolling(asked)
    assert ours == pytest.approx(expected, rel=1e-5)


def writing(until: list[str], prompts: list[str], length: int = 70) -> list[Instance]:
    options = {"until": until, "max_gen_toks": length, "do_sample": False}
    return [Instance("generate_until", {}, (prompt, dict(options)), 0) for prompt in prompts]


@pytest.mark.parametrize("until", [[], ["e"], ["."], ["nothing of the kind"]])
def test_greedy_text_is_that_of_hflm_up_to_the_same_stop(until: list[str]):
    prompts = [prompt for prompt, _ in PAIRS] + [LONG]
    plain = HFLM(pretrained=model(positions=160), tokenizer=WORDS, batch_size=1)
    expected = plain.generate_until(writing(until, prompts), disable_tqdm=True)
    lm = CheckpointLM(model(positions=160), WORDS, 4000)
    assert lm.generate_until(writing(until, prompts)) == expected


def texts(lm: CheckpointLM, until: list[str], prompt: str, length: int) -> list[Text]:
    """The response to a prompt as tokens, beside the text that lm-eval is given."""
    (request,) = writing(until, [prompt], length=length)
    return lm.respond([prompt], request.arguments[1])


def test_a_greedy_text_is_not_written_far_beyond_its_stop():
    lm = CheckpointLM(model(), WORDS, 4000)
    prompt = PAIRS[0][0]
    free = lm.generate_until(writing([], [prompt], length=256))[0]
    (whole,) = texts(lm, [], prompt, 256)
    assert len(whole.response_ids) > 32  # it doesn't end early by itself
    (stopped,) = texts(lm, [free[0]], prompt, 256)
    assert len(stopped.response_ids) <= 32


def test_a_model_too_short_for_a_response_is_refused():
    lm = CheckpointLM(model(positions=64), WORDS, 4000)
    with pytest.raises(ValueError, match=r"lower evaluation\.max_new_tokens"):
        lm.generate_until(writing([], ["The cat"], length=64))


def talker(words: PreTrainedTokenizerFast, positions: int = 512) -> PreTrainedModel:
    """A random model over a tokenizer."""
    made = from_shape(Shape(**SHAPE.model_dump()), words, seed=1).eval()
    reconcile_tokenizer(made, words)
    made.config.max_position_embeddings = positions
    return made


def test_a_tokenizer_that_ends_any_text_ends_no_prompt_and_no_context():
    tokenizers = byte_level(begins=True, ends=True), byte_level(begins=True)
    adds, plain = (CheckpointLM(talker(words), words, 4000) for words in tokenizers)
    prompts = ["Repeat cat dog\n", "<s>Repeat cat\n"]
    assert [text.prompt_ids for text in adds._prompt_texts(prompts, 99)] == [
        text.prompt_ids for text in plain._prompt_texts(prompts, 99)
    ]
    asked = [Instance("loglikelihood", {}, ("Repeat cat", " dog sun"), 0)]
    assert adds.loglikelihood(asked) == plain.loglikelihood(asked)


def test_prompts_of_training_and_of_writing_are_the_same_ids():
    words = byte_level(begins=True, ends=True)
    for prompt in ("Repeat cat dog\n", "<s>Repeat cat dog\n", "Repeat "):
        row = {"example_id": "a", "prompt": prompt, "responses": ["cat dog"]}
        trained = encode([row], words, TokensSettings()).columns["prompt_ids"]
        asked = CheckpointLM(talker(words), words, 4000)._prompt_texts([prompt], 99)
        assert [text.prompt_ids for text in asked] == trained


def test_given_ids_are_asked_whatever_the_model_s_tokenizer_would_make():
    words = byte_level()
    lm = CheckpointLM(talker(words), words, 4000)
    ids = [words.bos_token_id, *words.encode("Repeat cat")]
    lm.prompts = {"Repeat cat": ids}
    (text,) = texts(lm, [], "Repeat cat", 8)
    assert list(text.prompt_ids) == ids


def test_given_prompts_are_never_cut_and_lm_eval_s_are_counted():
    words = byte_level()
    lm = CheckpointLM(talker(words, positions=40), words, 4000)
    lm.label = "dolly"
    long = "Repeat cat dog sun sea hat map cup key " * 4
    lm.generate_until(writing([], [long, "Repeat cat"], length=8))
    assert lm.truncated == {"dolly": 1}
    lm.prompts = {long: words.encode(long)}
    needed = len(words.encode(long)) + 8
    with pytest.raises(
        ValueError,
        match=rf"dolly: the model has 40 positions, and its texts have up to {needed} tokens, "
        r"prompt and response together; lower evaluation\.max_new_tokens, or evaluation\.prompt_",
    ):
        lm.generate_until(writing([], [long], length=8))


def test_the_token_that_ended_a_text_is_no_part_of_it():
    words = byte_level()
    model = talker(words)
    free = CheckpointLM(model, words, 4000)
    (whole,) = texts(free, [], "Repeat cat", 30)
    ids = list(whole.response_ids)
    model.generation_config.eos_token_id = [words.eos_token_id, ids[9]]  # no special token
    lm = CheckpointLM(model, words, 4000)
    (response,) = lm.generate_until(writing([], ["Repeat cat"], length=30))
    end = ids.index(ids[9])
    (text,) = texts(lm, [], "Repeat cat", 30)
    assert list(text.response_ids) == ids[: end + 1]
    assert response == words.decode(ids[:end], skip_special_tokens=True)


def test_a_continuation_longer_than_the_model_is_refused_where_hflm_fails_too():
    asked = [Instance("loglikelihood", {}, ("The owl", f" {LONG}"), 0)]
    plain = HFLM(pretrained=model(positions=32), tokenizer=WORDS, batch_size=1)
    with pytest.raises(AssertionError):
        plain.loglikelihood(asked, disable_tqdm=True)
    with pytest.raises(ValueError, match=r"a continuation has .* tokens, and the model reads 32"):
        CheckpointLM(model(positions=32), WORDS, 4000).loglikelihood(asked)


def test_the_context_ends_where_longer_texts_would_change_the_rotations_of_others():
    rotated = model(positions=512)
    rotated.config.rope_parameters = {
        "rope_type": "longrope",
        "original_max_position_embeddings": 64,
    }
    assert CheckpointLM(rotated, WORDS, 4000).max_length == 64
    assert CheckpointLM(model(positions=512), WORDS, 4000).max_length == 512
