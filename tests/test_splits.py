"""Fair draws and likeness: what a seed decides, and what counts as the same."""

import random
from itertools import permutations

import pytest

from pipeline.data.conversations import Conversation
from pipeline.data.examples import Example
from pipeline.data.splits import (
    check_no_leaks,
    hold_out,
    letters_only,
    near_identical,
    overlap,
    shuffled,
)


def example(instruction: str, response: str = "Yes.", source: str = "toy") -> Example:
    return Example(instruction, "", (response,), source)


def test_an_order_depends_on_the_seed_and_not_on_how_items_were_read() -> None:
    items = [f"item {n}" for n in range(100)]
    order = shuffled(items, str, "0")

    assert order != items
    assert sorted(order) == sorted(items)
    assert shuffled(reversed(items), str, "0") == order
    assert shuffled(items, str, "1") != order


def test_a_further_item_leaves_the_order_of_the_others() -> None:
    items = [f"item {n}" for n in range(100)]
    order = shuffled([*items, "one more"], str, "0")

    assert [item for item in order if item != "one more"] == shuffled(items, str, "0")


def test_every_place_of_an_order_is_as_likely_over_seeds() -> None:
    # 2,000 seeds, 4 places: 500 each, sigma = sqrt(2000 * 3/16) = 19; five of them are 97.
    firsts = [shuffled("abcd", str, f"{seed}")[0] for seed in range(2000)]

    assert all(abs(firsts.count(letter) - 500) < 97 for letter in "abcd")


def test_copies_of_a_question_stay_together_when_splits_are_drawn() -> None:
    train = [example(f"Question {n % 40}?", f"Answer {n}.") for n in range(120)]
    train += [example(f"question  {n}?", "In other case.") for n in range(40)]

    places = hold_out(train, {"validation": 20, "test": 40}, "0")
    splits = {split: [train[place] for place in each] for split, each in places.items()}

    assert {split: len(part) for split, part in splits.items()} == {
        "train": 100,
        "validation": 20,
        "test": 40,
    }
    assert not overlap(splits["test"], splits["train"]).questions
    assert not overlap(splits["validation"], splits["train"]).questions
    assert not overlap(splits["validation"], splits["test"]).questions


def test_counts_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 test and 1 validation examples .* from 3"):
        hold_out([example(f"{n}?") for n in range(3)], {"validation": 1, "test": 2}, "0")


def test_counts_that_copies_make_impossible_are_refused() -> None:
    copies = [example("The same?", f"{n}") for n in range(5)]

    with pytest.raises(ValueError, match="test can't have 2 examples"):
        hold_out(copies, {"test": 2}, "0")


def test_overlap_sees_questions_through_case_and_space_and_counts_instructions() -> None:
    train = [example("Name a  BIRD."), Example("Add up.", "1 2", ("3",), "toy")]
    test = [example("Name a fish."), example("name a bird."), Example("Add up.", "1 3", ("4",), "")]

    shared = overlap(test, train)

    assert shared.questions == [1]
    assert shared.instructions == 2


def chat(*contents: str) -> Example:
    roles = ("user", "assistant") * len(contents)
    pairs = zip(roles, contents, strict=False)
    turns = [{"role": role, "content": content} for role, content in pairs]
    talk = Conversation(turns, [], "here")
    return Example(talk.question, "", (contents[-1],), "toy", chat=talk.dumps())


def test_conversations_that_begin_alike_stay_together_when_splits_are_drawn() -> None:
    train = [chat(f"Ask {n % 30}?", "So.", f"And {n}?", "Thus.") for n in range(90)]
    train += [chat(f"ask  {n}?", "So.") for n in range(30)]

    places = hold_out(train, {"validation": 20, "test": 40}, "0")
    splits = {split: [train[place] for place in each] for split, each in places.items()}

    assert [len(splits[split]) for split in ("train", "validation", "test")] == [60, 20, 40]
    for split, other in permutations(splits, 2):
        assert not overlap(splits[split], splits[other]).questions


def test_conversations_that_begin_otherwise_are_drawn_as_texts_of_one_turn_are() -> None:
    talks = [chat(f"Ask {n}?", "So.", "And?", "Thus.") for n in range(60)]
    turns = [example(talk.instruction) for talk in talks]

    assert hold_out(talks, {"test": 20}, "0") == hold_out(turns, {"test": 20}, "0")


def test_a_conversation_asks_as_often_as_it_is_answered() -> None:
    train = [chat("Sea?", "Blue.", "Sky?", "Blue too.", "Why?", "Light."), example("Sun?")]
    test = [
        chat("sea?", "Blue."),  # a part of the conversation
        chat("Sky?", "Blue."),  # asked there behind another question
        chat("Sea?", "Blue.", "Sky?", "Grey."),
        chat("Moon?", "Grey."),
        chat("Sun?", "Hot.", "Moon?", "Cold."),  # its first answer counts, too
    ]
    assert overlap(test, train).questions == [0, 2, 4]


@pytest.mark.parametrize(
    "leaked", [example("Known?", "New."), example("New?", "an answer of 2 words")]
)
def test_a_question_or_an_answer_in_two_splits_is_refused(leaked: Example) -> None:
    train = [example("Known?", "An answer of words!")]

    with pytest.raises(ValueError, match="train and test both hold"):
        check_no_leaks({"train": train, "test": [leaked]})


def test_letters_are_what_is_left_without_case_digits_and_signs() -> None:
    assert letters_only("The 2nd `Value`, at last!") == "thendvalueatlast"


def test_the_fast_search_for_near_copies_finds_what_comparing_all_pairs_finds() -> None:
    rng = random.Random(0)
    words = [chr(97 + n) * 2 for n in range(12)]
    texts = [" ".join(rng.choices(words, k=rng.randint(1, 14))) for _ in range(400)]

    kept: list[set[str]] = []
    expected = set()
    for place, text in enumerate(texts):
        bag = set(text.split())
        if any(5 * len(bag & other) >= 4 * len(bag | other) for other in kept):
            expected.add(place)
        else:
            kept.append(bag)

    assert 0 < len(expected) < len(texts)
    assert near_identical(texts) == expected
