"""ROUGE-L in every script: what the papers' tokenizer gives, what Unicode's words give."""

import pytest
from small_tasks import WORDS

from pipeline.data.batch import Text
from pipeline.evaluation import responses, rouge
from pipeline.settings.evaluation import GenerationSettings
from pipeline.settings.generation import Sampling

EVERY_SCRIPT = {
    "Russian": "кошка спит на крыше",
    "Chinese": "猫在屋顶上睡觉",
    "Japanese": "ねこは屋根の上でねむる",
    "Hebrew": "החתול ישן על הגג",
    "Arabic": "القطة نائمة على السطح",
    "Hindi": "बिल्ली छत पर सोती है",
    "Thai": "แมวนอนบนหลังคา",
    "emoji": "🐱 🏠",
}


@pytest.mark.parametrize("text", EVERY_SCRIPT.values(), ids=EVERY_SCRIPT)
def test_an_answer_that_equals_its_reference_scores_100_in_every_script(text: str) -> None:
    assert rouge.rouge_l(text, [text]) == 0  # what rouge-score says
    assert rouge.rouge_l_unicode(text, [text]) == 100
    assert rouge.kinds_for([text]) == ("rouge_l_unicode",)


def test_half_of_the_words_or_characters_give_two_thirds() -> None:
    # precision 1, recall 1/2: F = 2/3
    assert rouge.rouge_l_unicode("кошка спит", ["кошка спит на крыше"]) == pytest.approx(200 / 3)
    assert rouge.rouge_l_unicode("猫在", ["猫在睡觉"]) == pytest.approx(200 / 3)


def test_one_text_in_two_unicode_forms_is_one_text() -> None:
    composed, decomposed = "caf\u00e9 cr\u00e8me", "cafe\u0301 cre\u0300me"
    assert rouge.rouge_l_unicode(composed, [decomposed]) == 100
    assert rouge.rouge_l_unicode("STRASSE", ["Straße"]) == 100


@pytest.mark.parametrize(
    ("output", "reference"),
    [
        ("a cat was sleeping", "the cat sleeps"),
        ("I don't know_it, running!", "They ran; I know it don't run."),
        ("", "nothing"),
        ("In 1999 (or 2000) x1 and x2", "x1 or X2 in 2000"),
    ],
)
def test_on_english_both_ways_give_the_same_number(output: str, reference: str) -> None:
    expected = rouge.rouge_l(output, [reference])
    assert rouge.rouge_l_unicode(output, [reference]) == expected


def test_punctuation_alone_is_met_by_an_equal_answer_only() -> None:
    assert rouge.rouge_l_unicode("?!", ["?!"]) == 100
    assert rouge.rouge_l_unicode("!?", ["?!"]) == 0


def test_the_papers_tokenizer_is_trusted_up_to_one_letter_in_a_hundred() -> None:
    assert rouge.kinds_for(["a" * 100]) == ("rouge_l",)
    assert rouge.kinds_for(["a" * 199 + "é"]) == ("rouge_l",)
    assert rouge.kinds_for(["a" * 99 + "é"]) == ("rouge_l", "rouge_l_unicode")
    assert rouge.kinds_for(["¿?"]) == ("rouge_l_unicode",)


@pytest.mark.parametrize(
    ("references", "kinds"),
    [
        (["the cat"], {"rouge_l"}),
        (["the cat", "кошка"], {"rouge_l", "rouge_l_unicode"}),
        (["кошка"], {"rouge_l_unicode"}),
    ],
)
def test_the_data_choose_which_rouge_a_task_has(
    references: list[str], kinds: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    items = [
        {"example_id": str(index), "prompt": text, "responses": [text]}
        for index, text in enumerate(references)
    ]

    def look_up(item: responses.Item, _: int) -> Text:
        return Text(item["prompt"], [], WORDS.encode(item["prompt"]))

    generation = GenerationSettings(
        sampling=Sampling(temperature=0), decoding_seeds=[0], max_new_tokens=1
    )
    task = responses.response_tasks("own", items, generation, look_up).tasks["own"]
    values = task.process_results(items[-1], [references[-1]])
    assert {name for name in values if name.startswith("rouge")} == kinds
    assert values.get("rouge_l_unicode", 100) == 100
    assert ("rouge_l_unicode" in capsys.readouterr().err) == (kinds != {"rouge_l"})
