"""The cards of what is put onto the hub: README files with fields that the hub reads."""

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData

from pipeline.publishing.finished import FinishedReport
from pipeline.publishing.students import Student
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.own_tasks import metrics_of
from pipeline.reporting.analysis.scores import measures_of
from pipeline.settings.data import ChatTemplate
from pipeline.settings.tuning import with_values

Score = Mapping[Hashable, Any]  # a row of scores.parquet
LIBRARY, TASK = "transformers", "text-generation"
TAGS = ["distilbench", "knowledge-distillation"]
MODEL = """\
---
{fields}
---

# {name}

A language model trained by knowledge distillation: {method}.

It is the student `{student}` under the teacher `{teacher}`, training seed {seed}, of the experiment
`{experiment}`, whose report is in [{report}](https://huggingface.co/datasets/{report}).

## Use

{prompt}

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

source = "{repository}"
tokenizer = AutoTokenizer.from_pretrained(source)
model = AutoModelForCausalLM.from_pretrained(source)

{inputs}
written = model.generate(**inputs, do_sample=False, max_new_tokens={tokens})
print(tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```

## Scores

{scores}

Each is of this one checkpoint; ± is the standard error over items. The report has the means over
training seeds and the tests between methods.

## Training

```json
{training}
```

Commit: {commit}. Machine: {machine}.

{license}
"""
CHAT = """\
The chat template makes the prompt that the model was trained on. A message has an instruction as
its `content` and, where there is one, an `input` beside it. Text of a special token in a message is
read as that token, unlike in training."""
CHAT_CODE = """\
message = {"role": "user", "content": "Describe this function.", "input": "def f(x)"}
inputs = tokenizer.apply_chat_template(
    [message], add_generation_prompt=True, return_tensors="pt", return_dict=True
)"""
CONVERSATION = """\
The model was trained on conversations through its chat template. Text of a special token in a
message is read as that token, unlike in training."""
CONVERSATION_CODE = """\
messages = [{{"role": "user", "content": "Describe this function."}}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True{}
)"""
PLAIN = """\
There is no chat template: this tokenizer would read its text as other tokens than those that the
model was trained on. The prompt without an input is `{}`."""
PLAIN_CODE = """\
prompt = {}.format(instruction="Describe this.")
inputs = tokenizer(prompt, return_tensors="pt")"""
DATASET = """\
---
{fields}
---

# {name}

Report and scores of the DistilBench experiment `{experiment}`: knowledge distillation of language
models. `index.html` is the report; it opens without a network. `scores.parquet` has a row for each
score of each evaluation, `tables/` what the report shows, and `provenance.json` how each of the
artifacts behind it was made. `manifest.json` has the checksums of all files but this one.

```python
import pandas as pd

source = "hf://datasets/{repository}"
scores = pd.read_parquet(f"{{source}}/scores.parquet")
whole = scores[(scores["slice"] == "") & ~scores["repeats"]]
print(whole.groupby(["task", "metric", "student", "teacher", "method"])["value"].mean())
```

{students}Commit: {commit}. Machine: {machine}.

{license}{notes}
"""


def model_card(
    repository: str,
    report: FinishedReport,
    report_repository: str,
    student: Student,
    license: str,
    has_chat_template: bool,
) -> ModelCard:
    """The card of a student. Its fields are checked as the hub's library does."""
    measured = _measured(report, student)
    fields = ModelCardData(
        model_name=repository.rpartition("/")[2],
        library_name=LIBRARY,
        pipeline_tag=TASK,
        license=license,
        base_model=student.base.get("name"),
        datasets=student.data["name"] if student.data["source"] == "hub" else None,
        tags=[*TAGS, student.method],
        eval_results=list(_results(measured, report, report_repository, student)),
    )
    # those that were chosen by a search among them
    settings = with_values(student.manifest["settings"], student.manifest.get("chosen", {}))
    text = MODEL.format(
        fields=fields.to_yaml(),
        name=fields.model_name,
        method=student.description,
        student=student.student,
        teacher=student.teacher,
        seed=student.seed,
        experiment=report.name,
        report=report_repository,
        repository=repository,
        tokens=student.manifest["settings"].get("max_new_tokens", 64),
        scores=_table(measured),
        training=json.dumps(settings, indent=1, ensure_ascii=False),
        **_prompt(student, has_chat_template),
        **_made(report, license),
    )
    return ModelCard(text)


def report_card(
    repository: str, report: FinishedReport, models: Iterable[str], license: str, notes: str
) -> DatasetCard:
    """The card of a report; `notes` were written by hand and end it."""
    fields = DatasetCardData(
        pretty_name=f"DistilBench: {report.name}",
        license=license,
        tags=TAGS,
        configs=[{"config_name": "scores", "data_files": "scores.parquet"}],
    )
    links = [f"- [{model}](https://huggingface.co/{model})" for model in models]
    text = DATASET.format(
        fields=fields.to_yaml(),
        name=fields.pretty_name,
        experiment=report.name,
        repository=repository,
        students="\n".join(["Its students:", "", *links, "", ""]) if links else "",
        notes=f"\n\n{notes}" if notes else "",
        **_made(report, license),
    )
    return DatasetCard(text)


def _measured(report: FinishedReport, student: Student) -> list[tuple[Measure, Score]]:
    known = measures_of(report.scores, metrics_of(report.manifests))
    measures = {measure.names: measure for measure in known}
    return [
        (measures[score["task"], score["slice"], score["metric"]], score)
        for score in student.scores.to_dict("records")
    ]


def _results(
    measured: Iterable[tuple[Measure, Score]],
    report: FinishedReport,
    report_repository: str,
    student: Student,
) -> Iterator[EvalResult]:
    data = str(student.data.get("name", student.data["source"]))
    for measure, score in measured:
        yield EvalResult(
            task_type=TASK,
            dataset_type=data,
            dataset_name=f"{data}, {measure.task}",
            metric_type=measure.metric.name,
            metric_name=measure.metric.title,
            metric_value=score["value"],
            source_name=f"DistilBench report {report.name}",
            source_url=f"https://huggingface.co/datasets/{report_repository}",
        )


def _table(measured: Iterable[tuple[Measure, Score]]) -> str:
    lines = ["| task | measure | unit | value | ± | items |", "|---|---|---|---|---|---|"]
    for measure, score in measured:
        names = (measure.task, measure.heading, measure.metric.unit)
        numbers = (measure.format(score["value"]), measure.format(score["stderr"]), str(score["n"]))
        lines.append(f"| {' | '.join((*names, *numbers))} |")
    return "\n".join(lines)


def _prompt(student: Student, has_chat_template: bool) -> Mapping[str, str]:
    if isinstance(student.template, ChatTemplate):
        kwargs = "".join(f", {key}={value!r}" for key, value in student.template.kwargs.items())
        return {"prompt": CONVERSATION, "inputs": CONVERSATION_CODE.format(kwargs)}
    if has_chat_template:
        return {"prompt": CHAT, "inputs": CHAT_CODE}
    frame = json.dumps(student.template.without_input, ensure_ascii=False)
    return {"prompt": PLAIN.format(frame), "inputs": PLAIN_CODE.format(frame)}


def _made(report: FinishedReport, license: str) -> Mapping[str, str]:
    unknown = "License: not stated by its publisher; those of the data and of the base model apply."
    return {
        "commit": "; ".join(report.commits) or "not recorded",
        "machine": "; ".join(report.machines) or "not recorded",
        "license": unknown if license == "unknown" else f"License: `{license}`.",
    }
