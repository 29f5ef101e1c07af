"""The command-line options of each stage: files, and what the machine gives.

A field is a flag of the same name (`python -m pipeline STAGE --help`). What a result depends on is
in the job's settings, never here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pipeline.artifacts.artifact import Job
from pipeline.artifacts.part import Part
from pipeline.training.trackers import TrackerName

JobFile = Annotated[Job, "JSON file with the job's id, code and settings"]
Out = Annotated[Path, "artifact to write"]
State = Annotated[Path, "folder for the state that an interrupted job resumes from"]
Data = Annotated[Path, "data artifact"]
Tokens = Annotated[Path, "tokens artifact"]
Teacher = Annotated[Path, "teacher artifact"]
Threads = Annotated[int, "CPU threads"]
MicroBatchTokens = Annotated[int, "most positions in one forward pass"]
OnePart = Annotated[Part | None, "of a job that makes a part of the pieces alone, such as 2/8"]
EndpointJson = Annotated[str, "address of a server and how it is asked, as JSON"]
Paths = tuple[Path, ...]  # each by a flag of its own

Sharded = Annotated[bool, "each rank has a share of the weights, for models beyond one GPU"]

MICRO_BATCH_TOKENS = 16_384


@dataclass(frozen=True)
class JobOptions:
    """The options of every stage that makes an artifact."""

    job: JobFile
    out: Out


@dataclass(frozen=True)
class PrepareDataOptions(JobOptions):
    """Reads the examples of one source into three splits with a card."""


@dataclass(frozen=True)
class TrainTokenizerOptions(JobOptions):
    """Trains a byte-level BPE tokenizer on the training split."""

    data: Data


@dataclass(frozen=True)
class TokenizeOptions(JobOptions):
    """Encodes examples as token ids; one that is too long is left out or cut, and counted."""

    data: Data
    tokenizer: Annotated[Path, "tokenizer or model artifact"]


@dataclass(frozen=True)
class AlignOptions(JobOptions):
    """Finds the spans that texts share in two vocabularies; a text with other bytes is counted."""

    teacher_tokens: Annotated[Path, "tokens artifact in the teacher's own vocabulary"]
    tokens: Tokens


@dataclass(frozen=True)
class PrepareModelOptions(JobOptions):
    """Saves the model that training starts from as safetensors beside its tokenizer."""

    tokenizer: Annotated[Path | None, "tokenizer artifact, for a model of given shape"] = None
    base: Annotated[Path | None, "model artifact to take layers from"] = None


@dataclass(frozen=True)
class TrainOptions(JobOptions):
    """Trains one model by one method with one seed: students, shared starts and teachers alike."""

    start: Annotated[Path, "model artifact to start from"]
    tokens: Tokens
    state: State
    texts: Annotated[Paths, "responses to train on instead of the gold ones"] = ()
    cache: Annotated[Path | None, "teacher cache, where the method reads one"] = None
    member: Annotated[Paths, "caches of several teachers, which are combined into one"] = ()
    data: Annotated[Path | None, "data artifact, where a text's source chooses its teacher"] = None
    teacher: Annotated[Path | None, "live teacher, where the method asks one"] = None
    alignment: Annotated[Path | None, "of a teacher with another vocabulary"] = None
    choice: Annotated[Path | None, "choice among trials, where settings are tuned"] = None
    may_diverge: Annotated[bool, "without finite losses, write all but the weights"] = False
    micro_batch_tokens: MicroBatchTokens = MICRO_BATCH_TOKENS
    gradient_checkpointing: Annotated[bool, "recompute activations in the backward pass"] = False
    sharded: Sharded = False
    save_seconds: Annotated[float, "between two checkpoints"] = 120.0
    tracker: Annotated[TrackerName, "none, tensorboard, trackio or wandb"] = TrackerName.NONE
    tracker_folder: Annotated[Path, "of the tracker's files"] = Path("results/trackers")
    threads: Threads = 1


@dataclass(frozen=True)
class ChooseOptions(JobOptions):
    """Chooses the settings of a method among trained students, by their validation scores."""

    trial: Annotated[Paths, "student artifacts, one for each setting and seed"] = ()


@dataclass(frozen=True)
class GenerateOptions(JobOptions):
    """Generates a model's own responses to training prompts, for methods on teacher text."""

    teacher: Teacher
    tokens: Tokens
    state: State
    student_tokens: Annotated[
        Path | None, "tokens artifact of the students, where they have another vocabulary"
    ] = None
    part: OnePart = None
    sharded: Sharded = False
    threads: Threads = 1


@dataclass(frozen=True)
class AskOptions(JobOptions):
    """Asks a model behind an endpoint for responses to training prompts."""

    data: Data
    tokens: Tokens
    state: State
    endpoint: EndpointJson
    threads: Threads = 1


@dataclass(frozen=True)
class CacheTeacherOptions(JobOptions):
    """Stores a teacher's log-probabilities of a set of texts, from one forward pass."""

    teacher: Teacher
    tokens: Tokens
    state: State
    part: OnePart = None
    sharded: Sharded = False
    micro_batch_tokens: MicroBatchTokens = MICRO_BATCH_TOKENS
    threads: Threads = 1


@dataclass(frozen=True)
class VerifyCacheOptions:
    """Recomputes a random share of a cache with its teacher, and prints the largest error."""

    cache: Annotated[Path, "cache artifact to check"]
    teacher: Teacher
    tokens: Tokens
    share: Annotated[float, "share of the texts to recompute, one text at least"] = 0.01
    seed: Annotated[int, "seed of the choice of texts"] = 0
    micro_batch_tokens: MicroBatchTokens = MICRO_BATCH_TOKENS
    threads: Threads = 1


@dataclass(frozen=True)
class PrepareTaskOptions(JobOptions):
    """Gathers the items of a task in one place, with their origin and a digest."""

    data: Data


@dataclass(frozen=True)
class EvaluateOptions(JobOptions):
    """Scores one checkpoint on all its tasks: held-out measures, and what lm-eval runs."""

    model: Annotated[Path, "model, start, student or teacher artifact to evaluate"]
    data: Data
    tokens: Tokens
    state: State
    cache: Annotated[Paths, "teacher caches for held-out measures"] = ()
    alignment: Annotated[Paths, "alignments of all teachers of another vocabulary"] = ()
    task: Annotated[Paths, "task artifacts"] = ()
    teacher: Annotated[Paths, "teachers for measures of exposure bias"] = ()
    part: OnePart = None
    sharded: Sharded = False
    micro_batch_tokens: MicroBatchTokens = MICRO_BATCH_TOKENS
    threads: Threads = 1


@dataclass(frozen=True)
class JudgeOptions(JobOptions):
    """Adds a judge's measures of the generated responses to an evaluation."""

    evaluation: Annotated[Path, "evaluation artifact whose responses are judged"]
    data: Data
    state: State
    judge: Annotated[Path | None, "model artifact of the judge"] = None
    endpoint: Annotated[str | None, "of a judge behind one, as JSON"] = None
    against: Annotated[Paths, "evaluation artifacts with the responses to compare with"] = ()
    micro_batch_tokens: MicroBatchTokens = MICRO_BATCH_TOKENS
    threads: Threads = 1


@dataclass(frozen=True)
class ReportOptions(JobOptions):
    """Writes scores, tables, plots and one page of all evaluations of an experiment."""

    grid: Annotated[Path, "the experiment's grid.csv"]
    results: Annotated[Path, "folder of all artifacts"]


# of the stages whose work parts and ranks may share
DividedOptions = CacheTeacherOptions | GenerateOptions | EvaluateOptions

STAGES = {
    "prepare_data": PrepareDataOptions,
    "train_tokenizer": TrainTokenizerOptions,
    "tokenize": TokenizeOptions,
    "align": AlignOptions,
    "prepare_model": PrepareModelOptions,
    "train": TrainOptions,
    "choose": ChooseOptions,
    "generate": GenerateOptions,
    "ask": AskOptions,
    "cache_teacher": CacheTeacherOptions,
    "verify_cache": VerifyCacheOptions,
    "prepare_task": PrepareTaskOptions,
    "evaluate": EvaluateOptions,
    "judge": JudgeOptions,
    "report": ReportOptions,
}
