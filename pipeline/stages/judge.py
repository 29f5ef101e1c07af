"""Adds a judge's measures to an evaluation: its responses are read, and not written again.

The artifact is an evaluation like the one that it reads, with more rows in `items.parquet` and the
judge's answers in a file of their own.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import torch

from pipeline.artifacts import artifact, checksums, schemas
from pipeline.artifacts.artifact import resume_key
from pipeline.artifacts.resumable_parts import ResumableParts, link
from pipeline.data.conversations import Conversation
from pipeline.data.examples import conversation_of
from pipeline.evaluation import judgements, records
from pipeline.evaluation.judge_endpoint import ServedJudge
from pipeline.evaluation.judge_model import LocalJudge, RewardModel
from pipeline.evaluation.judgements import Comparison
from pipeline.generation.endpoint import ANSWERS, AnswerLog, Client
from pipeline.models.flops import count
from pipeline.models.language_model import default_device, load_frozen, load_tokenizer
from pipeline.models.reward import load_reward_model
from pipeline.runtime import costs
from pipeline.runtime.costs import Cost, ModelCounter
from pipeline.runtime.meter import Stopwatch
from pipeline.settings.endpoint import Endpoint
from pipeline.settings.judge import JudgeJob
from pipeline.stages import command_line
from pipeline.stages.evaluate import CUT, LEFT_OUT
from pipeline.stages.options import JudgeOptions

VERDICTS = "verdicts-*.parquet"  # a file for each judge, whose name stands for the star
PART = "verdicts.parquet"

AnyJudge = LocalJudge | ServedJudge | RewardModel


@dataclass(frozen=True)
class Bench:
    """A judge at work: what it is asked to look at, and what is finished of its answers."""

    settings: JudgeJob
    judge: AnyJudge
    parts: ResumableParts

    def judged(self, comparison: Comparison, name: str) -> tuple[pa.Table, pa.Table, Cost]:
        """The measures and the answers of a comparison, and what these cost."""
        tables, cost = [], Cost()
        for number, part in enumerate(comparison.parts()):
            piece = f"{name}-{number:05d}"
            folder = self.parts.get_or_make(piece, partial(self._make, comparison=part))
            tables.append(schemas.read(folder / PART, schemas.VERDICTS))
            cost += Cost(**self.parts.facts(piece)["cost"])
        verdicts = pa.concat_tables(tables)
        items = comparison.items(self.settings.judge, judgements.answers_of(verdicts))
        return items, verdicts, cost

    def _make(self, folder: Path, comparison: Comparison) -> Mapping[str, object]:
        model = None if isinstance(self.judge, ServedJudge) else self.judge.model
        watch = Stopwatch(model.device if model else torch.device("cpu"))
        # of an endpoint nothing is known, and for reward models there is no formula
        counter = ModelCounter(flops=None)
        if isinstance(self.judge, LocalJudge):
            counter = count(self.judge.model)
        if isinstance(self.judge, RewardModel):
            answers = self.judge.answers(comparison.rows)
        else:
            answers = self.judge.answers(*comparison.questions(self.settings.criteria))
        verdicts = comparison.verdicts(answers)
        schemas.write(folder / PART, verdicts, schemas.VERDICTS)
        return {"cost": asdict(watch.cost() + counter.as_teacher())}


def judge_of(options: JudgeOptions, settings: JudgeJob) -> AnyJudge:
    """The judge: its model in memory, or the client of its endpoint."""
    if settings.kind == "reward":
        assert options.judge is not None
        checksums.verify(options.judge, "model/*")
        model = load_reward_model(options.judge / "model")
        torch.nn.Module.to(model, default_device())  # in place
        tokenizer = load_tokenizer(options.judge)
        return RewardModel(settings.judge, model, tokenizer, test_conversations(options.data))
    if options.judge is not None:
        model = load_frozen(options.judge, default_device(), "auto")
        tokenizer = load_tokenizer(options.judge)
        return LocalJudge(settings.judge, model, tokenizer, options.micro_batch_tokens)
    assert options.endpoint is not None
    assert settings.served_model is not None
    client = Client(Endpoint.model_validate_json(options.endpoint), settings.served_model)
    log = AnswerLog(
        options.state / ANSWERS, resume_key(options.job, command_line.inputs_of(options))
    )
    return ServedJudge(settings.judge, client, log, settings.answer_tokens)


def test_conversations(data: Path) -> dict[str, Conversation]:
    """The conversations of the test split, by example; none of those that came otherwise."""
    rows = schemas.read(data / "test.parquet", schemas.EXAMPLES).to_pylist()
    return {row["example_id"]: conversation_of(row) for row in rows if row.get("chat")}


def run(options: JudgeOptions) -> None:
    """Writes an evaluation with the judge's measures."""
    torch.set_num_threads(options.threads)
    settings = JudgeJob.model_validate(options.job.settings)
    inputs = command_line.begin(options)
    judged = records.read(options.evaluation)
    others = {artifact.read_id(path): records.read(path).outputs for path in options.against}
    asked = judgements.comparisons(settings, judged.outputs, others)
    parts = ResumableParts(options.state, options.job, inputs)
    bench = Bench(settings, judge_of(options, settings), parts)
    results = [bench.judged(each, f"{number:03d}") for number, each in enumerate(asked)]
    items = pa.concat_tables([judged.items, *(items for items, _, _ in results)])
    verdicts = pa.concat_tables([verdicts for _, verdicts, _ in results])
    with artifact.create(options.out, options.job, inputs) as (folder, facts):
        replace(judged, items=items).write(folder)
        _carry_over(options.evaluation, folder)
        path = folder / VERDICTS.replace("*", settings.judge)
        schemas.write(path, verdicts, schemas.VERDICTS)
        before = costs.read(options.evaluation / costs.FILE)
        cost = sum((cost for _, _, cost in results), before.cost)
        costs.write(folder, replace(before, cost=cost))
        manifest = artifact.read_json(options.evaluation / artifact.MANIFEST)
        facts |= {key: manifest[key] for key in (LEFT_OUT, CUT)}
    parts.discard()


def _carry_over(evaluation: Path, folder: Path) -> None:
    """Puts the answers of earlier judges beside the new ones."""
    checksums.verify(evaluation, VERDICTS)
    for path in evaluation.glob(VERDICTS):
        link(path, folder / path.name)
