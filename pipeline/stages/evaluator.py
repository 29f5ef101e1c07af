"""What is evaluated of a checkpoint, task by task: pieces of the work, and records made of them."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from transformers import PreTrainedModel

from pipeline.artifacts import artifact, schemas
from pipeline.data.batch import Text, read_texts
from pipeline.evaluation import (
    exposure_bias,
    heldout,
    over_bytes,
    questions,
    records,
    written_responses,
)
from pipeline.evaluation.questions import Questions
from pipeline.evaluation.records import EvaluationRecords
from pipeline.models import positions, vocabulary
from pipeline.models.flops import count
from pipeline.models.language_model import load_tokenizer
from pipeline.runtime.costs import Cost
from pipeline.settings.data import ChatTemplate
from pipeline.settings.evaluation import EvaluationJob, EvaluationTask, ScoredBy
from pipeline.stages.cached_teachers import CachedTeachers, open_teachers, precision_of
from pipeline.stages.options import EvaluateOptions
from pipeline.tokenizer_alignment.alignment import Alignment
from pipeline.tokenizer_alignment.token_bytes import token_bytes

if TYPE_CHECKING:
    from pipeline.evaluation.lm_eval_model import CheckpointLM

RESPONSES = "responses"
LEFT_OUT = "left_out"  # in the results, by task: items whose prompts are longer than allowed
TOKENS = "tokens.npz"  # of a piece: the metrics of held-out tokens
HELD_OUT_TEXTS = 2_000  # in a piece
CUT = "cut"  # in the results, by task: texts that lm-eval left-truncated to the context window


@dataclass(frozen=True)
class Piece:
    """Some of a task's work, which is the same from any job."""

    name: str
    work: Callable[[Path], Cost]  # writes to a folder; returns the cost of teachers that it ran

    @property
    def label(self) -> str:
        """The task's name; behind it which piece this is, where it isn't the first."""
        task, _, number = unquote(self.name).rpartition("-")
        return f"{task}, piece {int(number) + 1}" if int(number) else task


@dataclass(frozen=True, eq=False)
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

    def pieces(self, task: EvaluationTask) -> list[Piece]:
        """The work of a task, in pieces that are the same from any job."""
        if task.name == heldout.TASK:
            works = [
                partial(self.read_held_out, slice(first, first + HELD_OUT_TEXTS))
                for first in range(0, len(self.test_texts), HELD_OUT_TEXTS)
            ]
        elif task.name == exposure_bias.TASK:
            works = [partial(self.exposed, task, folder) for folder in self.other_teachers]
        elif task.generation is not None:
            works = [partial(self.respond, task, *chunk) for chunk in self.chunks(task)]
        else:
            works = [partial(self.documents, task)]
        name = quote(task.name, safe="")
        return [Piece(f"{name}-{number:05d}", work) for number, work in enumerate(works)]

    def records(self, task: EvaluationTask, folders: Sequence[Path]) -> EvaluationRecords:
        """The checkpoint's records of a task whose pieces are in these folders."""
        if task.name == heldout.TASK:
            return self.held_out(folders)
        if task.generation is not None and task.name != exposure_bias.TASK:
            return self.responses(task, folders)
        nothing = EvaluationRecords(schemas.ITEMS.empty_table())
        return records.concatenate([nothing, *map(records.read, folders)])

    @cached_property
    def teachers(self) -> CachedTeachers:
        """The teachers with a cache."""
        tokens, size = artifact.read_id(self.options.tokens), self.model.config.vocab_size
        return open_teachers(self.options.cache, tokens, size, self.alignments)

    def read_held_out(self, rows: slice, folder: Path) -> Cost:
        """Held-out measures on some of the test responses, against every teacher with a cache."""
        texts, teachers = self.test_texts[rows], self.teachers
        positions.check(self.options.model, self.model.config, texts, 0, "tokens.response_tokens")
        before = teachers.cost
        budget, precision = self.options.micro_batch_tokens, precision_of(self.options.cache)
        tokens = heldout.read(self.model, texts, teachers.own, budget, precision)
        heldout.save(folder / TOKENS, tokens)
        if self.settings.per_byte:
            vocabulary = token_bytes(load_tokenizer(self.options.tokens))
            over_bytes.measure(
                self.model, texts, vocabulary, teachers.aligned, budget, precision
            ).write(folder)
        return teachers.cost + before * -1

    def held_out(self, folders: Sequence[Path]) -> EvaluationRecords:
        """Held-out measures on all test responses, from what was read of each."""
        ids = [text.example_id for text in self.test_texts]
        starts = range(0, len(ids), HELD_OUT_TEXTS)
        sizes = [len(ids[first : first + HELD_OUT_TEXTS]) for first in starts]
        tokens = heldout.join([heldout.load(folder / TOKENS) for folder in folders], sizes)
        scores = [heldout.measures(tokens, ids, by_position=not self.teachers.is_foreign)]
        if self.settings.per_byte:
            scores += map(records.read, folders)
        return records.concatenate(scores)

    @property
    def other_teachers(self) -> list[Path]:
        """The teachers that are not the checkpoint itself."""
        own = artifact.read_id(self.options.model)
        return [folder for folder in self.options.teacher if artifact.read_id(folder) != own]

    def exposed(self, task: EvaluationTask, teacher_folder: Path, folder: Path) -> Cost:
        """The excess error against one teacher."""
        generation = task.generation
        assert generation is not None
        texts = self.test_texts[: self.settings.items]
        device, tokens = self.model.device, self.options.tokens
        teacher = vocabulary.load_writer(teacher_folder, tokens, device, "auto")
        for path, model in ((self.options.model, self.model), (teacher_folder, teacher)):
            new_tokens, key = generation.max_new_tokens, "evaluation.max_new_tokens"
            positions.check(path, model.config, texts, new_tokens, key)
        counter = count(teacher)
        exposure_bias.measure(
            self.model,
            teacher,
            artifact.read_id(teacher_folder),
            texts,
            max_new_tokens=generation.max_new_tokens,
            seed=generation.decoding_seeds[0],
            max_tokens=self.options.micro_batch_tokens,
        ).write(folder)
        return counter.as_teacher()

    def chunks(self, task: EvaluationTask) -> list[tuple[int, list[int]]]:
        """For each decoding seed, the places in the task of questions answered together."""
        from pipeline.evaluation.writer import chunks_by_length

        assert task.generation is not None
        questions = self.questions(task.name, task.generation.prompt_tokens)
        prompts = [questions.prompt_ids[item["prompt"]] for item in questions.items]
        seeds = task.generation.decoding_seeds
        return [(seed, places) for seed in seeds for places in chunks_by_length(prompts)]

    def respond(self, task: EvaluationTask, seed: int, places: list[int], folder: Path) -> Cost:
        """Responses to some of the questions of an instruction task or of the test split."""
        from pipeline.evaluation import responses

        assert task.generation is not None
        questions = self.questions(task.name, task.generation.prompt_tokens)
        self._ask(task.name, questions, {})
        prompts = [questions.items[place]["prompt"] for place in places]
        options = responses.generation_options(task.generation, seed)
        written_responses.save(folder, places, self.checkpoint.respond(prompts, options))
        return Cost()

    def _ask(self, name: str, questions: Questions, written: Mapping[int, list[Text]]) -> None:
        """Tells lm-eval's model what it is asked, and what it has answered."""
        self.checkpoint.label, self.checkpoint.prompts = name, questions.prompt_ids
        self.checkpoint.chat = None  # the prompts are whole
        self.checkpoint.written = written

    def responses(self, task: EvaluationTask, folders: Sequence[Path]) -> EvaluationRecords:
        """Scores of the responses to an instruction task or to the test split."""
        from pipeline.evaluation import lm_eval_results, responses

        name, generation = task.name, task.generation
        assert generation is not None
        questions = self.questions(name, generation.prompt_tokens)
        prompts = [item["prompt"] for item in questions.items]
        of_seed: dict[int, list[Path]] = defaultdict(list)
        for (seed, _), folder in zip(self.chunks(task), folders, strict=True):
            of_seed[seed].append(folder)
        written = {seed: written_responses.load(of, prompts) for seed, of in of_seed.items()}
        self._ask(name, questions, written)
        card = {} if name == RESPONSES else self.cards[name][1]
        scored_by: ScoredBy = card.get("scored_by", "references")
        places = {item["example_id"]: place for place, item in enumerate(questions.items)}

        def look_up(item: responses.Item, seed: int) -> Text:
            """The response to an item: another one may ask the same."""
            return written[seed][places[item["example_id"]]]

        tasks = responses.response_tasks(name, questions.items, generation, look_up, scored_by)
        results = lm_eval_results.evaluate_tasks(self.checkpoint, tasks, None, self.settings.seed)
        results |= {LEFT_OUT: {name: questions.left_out}}
        return responses.response_records(name, generation, results)

    @cache
    def questions(self, name: str, prompt_tokens: int | None) -> Questions:
        """The prompts of the test split or of an instruction task, of no more tokens than that."""
        data, tokens, most = self.options.data, self.options.tokens, self.settings.items
        if name == RESPONSES:
            return questions.of_test_split(data, self.test_texts, most)
        folder, _ = self.cards[name]
        seed = f"{self.settings.seed} {name}"
        return questions.of_task(folder, tokens, most, prompt_tokens, seed)

    def check_examples_fit(self, task: EvaluationTask) -> None:
        """Raises ValueError where examples before its questions leave no room for a response."""
        asked = self.cards.get(task.name, (None, {}))[1]
        if task.generation is None or not (examples := asked.get("few_shot")):
            return
        prompts = self.questions(task.name, task.generation.prompt_tokens).prompt_ids
        texts = [Text(prompt, ids, []) for prompt, ids in prompts.items()]
        about = f"{task.name}, with {len(examples)} examples: {self.options.model}"
        keys = "evaluation.few_shot, or set evaluation.prompt_tokens to leave out long items"
        new_tokens = task.generation.max_new_tokens
        positions.check(about, self.model.config, texts, new_tokens, keys)

    def documents(self, task: EvaluationTask, folder: Path) -> Cost:
        """lm-eval's scores on the documents of one of its tasks."""
        from pipeline.evaluation import lm_eval_results
        from pipeline.tasks import lm_eval_tasks

        name = task.name
        self.checkpoint.label, self.checkpoint.prompts = name, {}
        self.checkpoint.chat, self.checkpoint.written = self.chat, {}
        stored, card = self.cards[name]
        made_from = f"{artifact.read_id(stored)}, digest {card['digest']}"
        tasks = lm_eval_tasks.load(
            card["lm_eval_task"],
            lm_eval_tasks.stored(stored),
            card["shots"],
            made_from,
            lm_eval_tasks.own_folder(stored),
        )
        settings = self.settings
        results = lm_eval_results.evaluate_tasks(
            self.checkpoint, tasks, settings.items, settings.seed
        )
        results |= {CUT: {name: self.checkpoint.truncated[name]}}
        made = lm_eval_results.lm_eval_records(name, card["lm_eval_task"], tasks, results)
        made.write(folder)
        return Cost()
