"""Rewards of a step's rollouts, and how each compares with the others to its prompt."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from transformers import PreTrainedTokenizerBase

from pipeline.data.batch import Text
from pipeline.tasks.answers import is_correct


def with_rewards(
    rollouts: Sequence[Text], drawn: Sequence[Text], tokenizer: PreTrainedTokenizerBase
) -> list[Text]:
    """The rollouts with reward 1 where the answer is the drawn text's, else 0, and what follows.

    An advantage is the distance from the mean reward to a prompt in standard deviations; it is 0
    where all rewards to that prompt are equal. A solution is the first other response to the prompt
    that has reward 1.
    """
    references = {text.example_id: decoded(tokenizer, text) for text in drawn}
    rewards = [
        float(is_correct(decoded(tokenizer, text), [references[text.example_id]]))
        for text in rollouts
    ]
    rewarded = [
        replace(text, reward=reward) for text, reward in zip(rollouts, rewards, strict=True)
    ]
    groups = defaultdict(list)
    for text in rewarded:
        groups[text.example_id].append(text)
    return [_compared(text, groups[text.example_id]) for text in rewarded]


def _compared(text: Text, group: Sequence[Text]) -> Text:
    """A rewarded response beside the others to its prompt."""
    assert text.reward is not None
    of_group = advantage(text.reward, [other.reward or 0.0 for other in group])
    right = (other.response_ids for other in group if other is not text and other.reward == 1)
    return replace(text, advantage=of_group, solution=next(right, None))


def advantage(reward: float, group: Sequence[float]) -> float:
    """A reward's distance from the mean of its group in standard deviations; 0 if all are equal."""
    spread = float(np.std(group))
    return (reward - float(np.mean(group))) / spread if spread else 0.0


def mean_reward(texts: Sequence[Text]) -> float | None:
    """The mean reward of a step's texts; None where they have none."""
    rewards = [text.reward for text in texts if text.reward is not None]
    return float(np.mean(rewards)) if rewards else None


def decoded(tokenizer: PreTrainedTokenizerBase, text: Text) -> str:
    """The response of a text in words."""
    return str(tokenizer.decode(list(text.response_ids), skip_special_tokens=True))
