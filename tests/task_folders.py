"""A folder of tasks as a user of lm-eval writes them: YAML, functions, data, a group and a tag."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from snaking import TINY, edited

from pipeline.tasks import task_folder
from workflow.config.validate import validate
from workflow.grid.digests import of_file
from workflow.grid.grid import Grid

Configured = Callable[..., Grid]

SOUNDS = ["meow", "woof", "moo", "hoot", "purr", "bark"]
ANIMALS = ["cat", "dog", "cow", "owl"]
FILES = {
    "base.yaml": """
dataset_path: json
dataset_kwargs: {data_files: {test: sounds.jsonl}}
test_split: test
doc_to_text: !function utils.question
""",
    "choice.yaml": """
include: base.yaml
task: sounds_choice
tag: sounds_tag
output_type: multiple_choice
doc_to_choice: animals
doc_to_target: label
process_results: !function utils.margin
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: false}
""",
    "written.yaml": """
include: base.yaml
task: sounds_written
tag: sounds_tag
output_type: generate_until
doc_to_target: "{{animals[label]}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
  - {metric: !function utils.length_error, aggregation: mean, higher_is_better: false}
""",
    "groups/all.yaml": "group: sounds_group\ntask: [sounds_choice, sounds_written, arc_easy]\n",
    "other.yaml": """
task: other
dataset_path: json
dataset_kwargs: {data_files: {test: other.jsonl}}
test_split: test
doc_to_text: sound
doc_to_target: sound
""",
    "other.jsonl": '{"sound": "baa"}\n',
    "utils.py": """
from pathlib import Path

ASKED = Path(__file__).with_name("asked.txt").read_text().strip()

def question(doc):
    return ASKED.format(doc["sound"])

def margin(doc, results):
    values = [log_likelihood for log_likelihood, _ in results]
    return {"acc": max(values) - values[doc["label"]]}

def length_error(references, predictions):
    return abs(len(references[0]) - len(predictions[0]))
""",
    "asked.txt": "Which animal says {}?\n",
    "sounds.jsonl": "".join(
        json.dumps({"sound": sound, "animals": ANIMALS, "label": index % 4}) + "\n"
        for index, sound in enumerate(SOUNDS)
    ),
}


def write_tasks(folder: Path) -> Path:
    """The folder, with all of its files."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def grid_with(examples: Path, *tasks: str, **changes: Any) -> Grid:
    """The grid of a configuration with some tasks, those of the folder `my_tasks` among them."""
    of_file.cache_clear()  # a process reads each file once
    task_folder.read.cache_clear()
    named = {"tasks": [*tasks], "task_folder": "my_tasks", **changes}
    block = {key: value for key, value in named.items() if value is not None}
    config = {"data.examples.train": str(examples), "evaluation": TINY["evaluation"] | block}
    made = Grid(validate(edited(TINY, config)))
    assert made.evaluations  # its files are read now, not when it is asked
    return made
