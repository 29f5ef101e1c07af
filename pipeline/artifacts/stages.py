"""The stages of the pipeline, and the folders of the artifacts that each of them makes."""

from collections.abc import Mapping
from typing import Any

STAGES = {  # by the folder of what they make, each after those that it takes its inputs from
    "data": "prepare_data",
    "tokenizers": "train_tokenizer",
    "tokens": "tokenize",
    "alignments": "align",
    "tasks": "prepare_task",
    "models": "prepare_model",
    "teachers": "train",
    "texts": "generate",
    "caches": "cache_teacher",
    "starts": "train",
    "students": "train",
    "choices": "choose",
    "evals": "evaluate",
}
BY_PARTS = ("cache_teacher", "generate", "evaluate")  # whose work jobs of parts may share
BY_RANKS = ("train", *BY_PARTS)  # stages whose work several ranks can share
JUDGED = "judge"  # in the settings of evaluations that a judge has added to
SERVED = "served_model"  # in the settings of jobs that ask an endpoint


def stage_of(folder: str, settings: Mapping[str, Any]) -> str:
    """The stage that makes an artifact with these settings in this folder of the results."""
    if folder == "texts" and SERVED in settings:
        return "ask"
    return "judge" if JUDGED in settings else STAGES[folder]
