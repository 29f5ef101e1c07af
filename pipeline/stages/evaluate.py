"""Evaluates one checkpoint on all its tasks: held-out measures, and tasks of lm-eval.

The model is loaded once. Each task is finished on disk before the next begins: a killed job
repeats only the task that it was at.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import torch
from transformers import PreTrainedModel

from pipeline.artifacts import artifact, schemas
from pipeline.artifacts.resumable_parts import ResumableParts
from pipeline.data.batch import Text, read_texts
from pipeline.evaluation import exposure_bias, heldout, over_bytes, questions, records
from pipeline.evaluation.questions import Questions
from pipeline.evaluation.records import EvaluationRecords
from pipeline.models import positions, vocabulary
from pipeline.models.flops import count
from pipeline.models.language_model import (
    Precision,
    default_device,
    load,
    load_tokenizer,
    parameter_count,
)
from pipeline.runtime import costs
from pipeline.runtime.costs import GRAPH_CAPTURES, Cost, JobCost
from pipeline.runtime.meter import Stopwatch, device_name
from pipeline.runtime.progress import log
from pipeline.settings.data import ChatTemplate
from pipeline.settings.evaluation import EvaluationJob, EvaluationTask, GenerationSettings, ScoredBy
from pipeline.stages import command_line
from pipeline.stages.options import EvaluateOptions
from pipeline.tasks.instruction_items import CARD
from pipeline.teacher_cache.format import read_metadata
from pipeline.teacher_cache.reader import CachedTeacher, check_cache, open_cache
from pipeline.tokenizer_alignment.alignment import Alignment
from pipeline.tokenizer_alignment.teacher import AlignedTeacher
from pipeline.tokenizer_alignment.token_bytes import token_bytes

if TYPE_CHECKING:
    from pipeline.evaluation.lm_eval_model import CheckpointLM

RESULTS = "results.json"
RESPONSES = "responses"
LEFT_OUT = "left_out"  # in the results, by task: items whose prompts are longer than allowed
CUT = "cut"  # in the results, by task: texts that lm-eval left-truncated to the context window


@dataclass(frozen=True)
class Evaluator:
    """A checkpoint, and the artifacts that its tasks read."""

    options: EvaluateOptions
    settings: EvaluationJob
    model: PreTrainedModel
    cards: Mapping[str, tuple[Path, dict[str, Any]]]  # of the tasks that are artifacts, by name

    @cached_property
    def checkpoint(self) -> "CheckpointLM":
        """The model as lm-eval sees it, which takes seconds to import."""
        from pipeline.evaluation.lm_eval_model import CheckpointLM

        tokenizer = load_tokenizer(self.options.model)
        return CheckpointLM(self.model, tokenizer, self.options.micro_batch_tokens)

    @cached_property
    def chat(self) -> ChatTemplate | None:
        """The template of the training's chats with its text, where lm-eval asks through it."""
        if (chat := self.settings.chat) is None:
            return None
        text = chat.text or load_tokenizer(self.options.tokens).get_chat_template()
        return chat.model_copy(update={"text": text})

    @cached_property
    def alignments(self) -> list[Alignment]:
        """The texts of all teachers of another vocabulary."""
        return [Alignment(path, ["test"]) for path in self.options.alignment]

    @cached_property
    def test_texts(self) -> Sequence[Text]:
        """The test split, without texts that some model's vocabulary leaves out."""
        texts: Sequence[Text] = read_texts(self.options.tokens / "test.parquet")
        for alignment in self.alignments:
            texts = alignment.of(texts)
        return texts

    def measure(self, task: EvaluationTask) -> tuple[EvaluationRecords, Cost]:
        """The checkpoint's records of a task, and the cost of the teachers that it ran."""
        if task.name == heldout.TASK:
            return self.held_out()
        if task.name == exposure_bias.TASK:
            assert task.generation is not None
            return self.exposed(task.generation)
        if task.generation is not None:
            card = {} if task.name == RESPONSES else self.cards[task.name][1]
            scored_by = card.get("scored_by", "references")
            return self.responses(task.name, task.generation, scored_by), Cost()
        return self.documents(task.name), Cost()

    def held_out(self) -> tuple[EvaluationRecords, Cost]:
        """Held-out measures on the test responses, against every teacher with a cache."""
        teachers: dict[str, CachedTeacher] = {}
        aligned: dict[str, AlignedTeacher] = {}
        tokens = artifact.read_id(self.options.tokens)
        by_tokens = {each.teacher_tokens: each for each in self.alignments}
        is_foreign = by_tokens.pop(tokens, None) is not None  # a teacher with its own vocabulary
        for cache in self.options.cache:
            made_from = artifact.read_json(cache / artifact.MANIFEST)["inputs"]
            name, opened = made_from["teacher"], open_cache(cache, ["test"])
            if alignment := by_tokens.get(made_from["tokens"]):
                check_cache(cache, alignment.teacher_tokens)
                aligned[name] = AlignedTeacher(opened, alignment)
            else:
                check_cache(cache, tokens, self.model.config.vocab_size)
                teachers[name] = opened
        texts = self.test_texts
        positions.check(self.options.model, self.model.config, texts, 0, "tokens.response_tokens")
        counters = [teacher.count() for teacher in (*teachers.values(), *aligned.values())]
        budget, precision = self.options.micro_batch_tokens, self._teachers_precision()
        by_position = not is_foreign
        scores = [heldout.measure(self.model, texts, teachers, budget, precision, by_position)]
        if self.settings.per_byte:
            vocabulary = token_bytes(load_tokenizer(self.options.tokens))
            scores.append(
                over_bytes.measure(self.model, texts, vocabulary, aligned, budget, precision)
            )
        cost = sum((counter.as_teacher() for counter in counters), Cost())
        return records.concatenate(scores), cost

    def _teachers_precision(self) -> Precision:
        precisions: set[Precision] = {read_metadata(path).precision for path in self.options.cache}
        return precisions.pop() if len(precisions) == 1 else "auto"

    def exposed(self, generation: GenerationSettings) -> tuple[EvaluationRecords, Cost]:
        """The excess error against each teacher other than the checkpoint."""
        texts = self.test_texts[: self.settings.items]
        parts, counters = [EvaluationRecords(schemas.ITEMS.empty_table())], []
        for folder in self.options.teacher:
            if artifact.read_id(folder) == artifact.read_id(self.options.model):
                continue
            teacher = vocabulary.adopt_end_tokens(
                load(folder, self.model.device), self.options.tokens
            )
            for path, model in ((self.options.model, self.model), (folder, teacher)):
                new_tokens, key = generation.max_new_tokens, "evaluation.max_new_tokens"
                positions.check(path, model.config, texts, new_tokens, key)
            counters.append(count(teacher))
            parts.append(
                exposure_bias.measure(
                    self.model,
                    teacher,
                    artifact.read_id(folder),
                    texts,
                    max_new_tokens=generation.max_new_tokens,
                    seed=generation.decoding_seeds[0],
                    max_tokens=self.options.micro_batch_tokens,
                )
            )
        cost = sum((counter.as_teacher() for counter in counters), Cost())
        return records.concatenate(parts), cost

    def responses(
        self, name: str, generation: GenerationSettings, scored_by: ScoredBy
    ) -> EvaluationRecords:
        """Scores of generated responses to an instruction task or to the test split."""
        from pipeline.evaluation import lm_eval_results, responses

        questions = self.questions(name, generation)
        self.checkpoint.label, self.checkpoint.prompts = name, questions.prompt_ids
        self.checkpoint.chat = None  # the prompts are whole
        self.checkpoint.generated.clear()
        look_up = partial(_generated, self.checkpoint)
        tasks = responses.response_tasks(name, questions.items, generation, look_up, scored_by)
        results = lm_eval_results.evaluate_tasks(self.checkpoint, tasks, None, self.settings.seed)
        results |= {LEFT_OUT: {name: questions.left_out}}
        return responses.response_records(name, generation, results)

    def questions(self, name: str, generation: GenerationSettings) -> Questions:
        """The prompts of the test split or of an instruction task."""
        data, tokens, most = self.options.data, self.options.tokens, self.settings.items
        if name == RESPONSES:
            return questions.of_test_split(data, self.test_texts, most)
        folder, _ = self.cards[name]
        seed = f"{self.settings.seed} {name}"
        return questions.of_task(folder, tokens, most, generation.prompt_tokens, seed)

    def check_examples_fit(self, task: EvaluationTask) -> None:
        """Raises ValueError where examples before its questions leave no room for a response."""
        asked = self.cards.get(task.name, (None, {}))[1]
        if task.generation is None or not (examples := asked.get("few_shot")):
            return
        prompts = self.questions(task.name, task.generation).prompt_ids
        texts = [Text(prompt, ids, []) for prompt, ids in prompts.items()]
        about = f"{task.name}, with {len(examples)} examples: {self.options.model}"
        keys = "evaluation.few_shot, or set evaluation.prompt_tokens to leave out long items"
        new_tokens = task.generation.max_new_tokens
        positions.check(about, self.model.config, texts, new_tokens, keys)

    def documents(self, name: str) -> EvaluationRecords:
        """lm-eval's scores on the documents of one of its tasks."""
        from pipeline.evaluation import lm_eval_results
        from pipeline.tasks import lm_eval_tasks

        self.checkpoint.label, self.checkpoint.prompts = name, {}
        self.checkpoint.chat = self.chat
        folder, card = self.cards[name]
        made_from = f"{artifact.read_id(folder)}, digest {card['digest']}"
        tasks = lm_eval_tasks.load(
            card["lm_eval_task"], lm_eval_tasks.stored(folder), card["shots"], made_from
        )
        settings = self.settings
        results = lm_eval_results.evaluate_tasks(
            self.checkpoint, tasks, settings.items, settings.seed
        )
        results |= {CUT: {name: self.checkpoint.truncated[name]}}
        return lm_eval_results.lm_eval_records(name, card["lm_eval_task"], tasks, results)


def _generated(checkpoint: "CheckpointLM", prompt: str, seed: int) -> Any:
    return checkpoint.generated[prompt, seed]


def make(folder: Path, evaluator: Evaluator, task: EvaluationTask) -> dict[str, object]:
    """Evaluates one task and writes its records to `folder`; returns their cost."""
    log(f"{task.name}: started")
    watch, student = Stopwatch(evaluator.model.device), count(evaluator.model)
    scores, teachers_cost = evaluator.measure(task)
    scores.write(folder)
    text = json.dumps(scores.results, indent=1, default=str)  # it holds torch dtypes
    (folder / RESULTS).write_text(text, encoding="utf-8")
    cost = watch.cost() + student.as_student() + teachers_cost
    log(f"{task.name}: {cost.seconds:.1f} s")
    return {"cost": asdict(cost)}


def cost(facts: Iterable[Mapping[str, Any]], model: PreTrainedModel) -> JobCost:
    """The cost of all tasks together."""
    return JobCost(
        sum((Cost(**task["cost"]) for task in facts), Cost()),
        device=device_name(model.device),
        parameters=parameter_count(model),
        captures=replace(GRAPH_CAPTURES),
    )


def run(options: EvaluateOptions) -> None:
    """Writes items, outputs, calibration and lm-eval's results of one checkpoint."""
    torch.set_num_threads(options.threads)
    settings = EvaluationJob.model_validate(options.job.settings)
    inputs = command_line.begin(options)

    vocabulary.check(options.model, options.tokens)
    model = vocabulary.adopt_end_tokens(load(options.model, default_device()), options.tokens)
    read = {path: artifact.read_json(path / CARD) for path in options.task}
    cards = {card["task"]: (path, card) for path, card in read.items()}
    evaluator = Evaluator(options, settings, model, cards)
    for task in settings.tasks:
        evaluator.check_examples_fit(task)
    parts, names = ResumableParts(options.state, options.job, inputs), []
    for task in settings.tasks:
        names.append(quote(task.name, safe=""))
        parts.get_or_make(names[-1], partial(make, evaluator=evaluator, task=task))

    folders = [options.state / name for name in names]
    records_of_tasks = [records.read(path, artifact.read_json(path / RESULTS)) for path in folders]
    whole = records.concatenate(records_of_tasks)
    with artifact.atomic_write(options.out) as folder:
        folder.mkdir()
        whole.write(folder)
        (folder / RESULTS).write_text(json.dumps(whole.results, indent=1), encoding="utf-8")
        costs.write(folder, cost((parts.facts(name) for name in names), model))
        counted = {key: whole.results.get(key, {}) for key in (LEFT_OUT, CUT)}
        artifact.write_manifest(folder, options.job, inputs, **counted)
    parts.discard()
