"""The command-line options of each stage: files, and what the machine gives.

A field is a flag of the same name (`python -m pipeline STAGE --help`). What a result depends on is
in the job's settings, never here.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pipeline.artifacts.artifact import Job
from pipeline.training.trackers import TrackerName

JobFile = Annotated[Job, "JSON file with the job's id, code and settings"]
Out = Annotated[Path, "artifact to write"]
State = Annotated[Path, "folder for the state that an interrupted job resumes from"]
Data = Annotated[Path, "data artifact"]
Tokens = Annotated[Path, "tokens artifact"]
Teacher = Annotated[Path, "teacher artifact"]
Threads = Annotated[int, "CPU threads"]
MicroBatchTokens = Annotated[int, "most positions in one forward pass"]

EndpointJson = Annotated[str, "address of a server and how it is asked, as JSON"]

MICRO_BATCH_TOKENS = 16_384


@dataclass(frozen=True)
class PrepareDataOptions:
    """Reads the examples of one source into three splits with a card."""

    job: JobFile
    out: Out


@dataclass(frozen=True)
class TrainTokenizerOptions:
    """Trains a byte-level BPE tokenizer on the training split."""

    job: JobFile
    data: Data
    out: Out


@dataclass(frozen=True)
class TokenizeOptions:
    """Encodes examples as token ids; one that is too long is left out or cut, and counted."""

    job: JobFile
    data: Data
    tokenizer: Annotated[Path, "tokenizer or model artifact"]
    out: Out


@dataclass(frozen=True)
class AlignOptions:
    """Finds the spans that texts share in two vocabularies; a text with other bytes is counted."""

    job: JobFile
    teacher_tokens: Annotated[Path, "tokens artifact in the teacher's own vocabulary"]
    tokens: Tokens
    out: Out


@dataclass(frozen=True)
class PrepareModelOptions:
    """Saves the model that training starts from as safetensors beside its tokenizer."""

    job: JobFile
    out: Out
    tokenizer: Annotated[Path | None, "tokenizer artifact, for a model of given shape"] = None
    base: Annotated[Path | None, "model artifact to take layers from"] = None

    def inputs(self) -> dict[str, Path]:
        """The given artifacts by role."""
        roles = {"tokenizer": self.tokenizer, "base": self.base}
        return {role: path for role, path in roles.items() if path is not None}


@dataclass(frozen=True)
class TrainOptions:
    """Trains one model by one method with one seed: students, shared starts and teachers alike."""

    job: JobFile
    start: Annotated[Path, "model artifact to start from"]
    tokens: Tokens
    state: State
    out: Out
    texts: Annotated[list[Path], "responses to train on instead of the gold ones"] = field(
        default_factory=list
    )
    cache: Annotated[Path | None, "teacher cache, where the method reads one"] = None
    teacher: Annotated[Path | None, "live teacher, where the method asks one"] = None
    alignment: Annotated[Path | None, "with a cache in another vocabulary: its alignment"] = None
    choice: Annotated[Path | None, "choice among trials, where settings are tuned"] = None
    may_diverge: Annotated[bool, "without finite losses, write all but the weights"] = False
    micro_batch_tokens: MicroBatchTokens = MICRO_BATCH_TOKENS
    gradient_checkpointing: Annotated[bool, "recompute activations in the backward pass"] = False
    save_seconds: Annotated[float, "between two checkpoints"] = 120.0
    tracker: Annotated[TrackerName, "none, tensorboard, trackio or wandb"] = TrackerName.NONE
    tracker_folder: Annotated[Path, "of the tracker's files"] = Path("results/trackers")
    threads: Threads = 1

    def inputs(self) -> dict[str, Path]:
        """The given artifacts by role."""
        roles = {"start": self.start, "tokens": self.tokens}
        roles |= {"cache": self.cache, "teacher": self.teacher, "choice": self.choice}
        roles |= {"alignment": self.alignment}
        roles |= {f"texts-{index}": path for index, path in enumerate(self.texts)}
        return {role: path for role, path in roles.items() if path is not None}


@dataclass(frozen=True)
class ChooseOptions:
    """Chooses the settings of a method among trained students, by their validation scores."""

    job: JobFile
    out: Out
    trial: Annotated[list[Path], "student artifacts, one for each setting and seed"] = field(
        default_factory=list
    )

    def inputs(self) -> dict[str, Path]:
        """The given artifacts by role."""
        return {f"trial-{index}": path for index, path in enumerate(self.trial)}


@dataclass(frozen=True)
class GenerateOptions:
    """Generates a model's own responses to training prompts, for methods on teacher text."""

    job: JobFile
    teacher: Teacher
    tokens: Tokens
    state: State
    out: Out
    student_tokens: Annotated[
        Path | None, "tokens artifact of the students, where they have another vocabulary"
    ] = None
    threads: Threads = 1

    def inputs(self) -> dict[str, Path]:
        """The given artifacts by role."""
        roles = {"teacher": self.teacher, "tokens": self.tokens}
        roles |= {"student_tokens": self.student_tokens} if self.student_tokens else {}
        return roles


@dataclass(frozen=True)
class AskOptions:
    """Asks a model behind an endpoint for responses to training prompts."""

    job: JobFile
    data: Data
    tokens: Tokens
    state: State
    out: Out
    endpoint: EndpointJson
    threads: Threads = 1


@dataclass(frozen=True)
class CacheTeacherOptions:
    """Stores a teacher's log-probabilities of a set of texts, from one forward pass."""

    job: JobFile
    teacher: Teacher
    tokens: Tokens
    state: State
    out: Out
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
class PrepareTaskOptions:
    """Gathers the items of a task in one place, with their origin and a digest."""

    job: JobFile
    data: Data
    out: Out


@dataclass(frozen=True)
class EvaluateOptions:
    """Scores one checkpoint on all its tasks: held-out measures, and what lm-eval runs."""

    job: JobFile
    model: Annotated[Path, "model, start, student or teacher artifact to evaluate"]
    data: Data
    tokens: Tokens
    state: State
    out: Out
    cache: Annotated[list[Path], "teacher caches for held-out measures"] = field(
        default_factory=list
    )
    alignment: Annotated[list[Path], "alignments of caches in other vocabularies"] = field(
        default_factory=list
    )
    task: Annotated[list[Path], "task artifacts"] = field(default_factory=list)
    teacher: Annotated[list[Path], "teachers for measures of exposure bias"] = field(
        default_factory=list
    )
    micro_batch_tokens: MicroBatchTokens = MICRO_BATCH_TOKENS
    threads: Threads = 1

    def inputs(self) -> dict[str, Path]:
        """The given artifacts by role."""
        roles = {"model": self.model, "data": self.data, "tokens": self.tokens}
        lists = {"cache": self.cache, "alignment": self.alignment}
        lists |= {"task": self.task, "teacher": self.teacher}
        for role, paths in lists.items():
            roles |= {f"{role}-{index}": path for index, path in enumerate(paths)}
        return roles


@dataclass(frozen=True)
class JudgeOptions:
    """Adds a judge's measures of the generated responses to an evaluation."""

    job: JobFile
    evaluation: Annotated[Path, "evaluation artifact whose responses are judged"]
    data: Data
    state: State
    out: Out
    judge: Annotated[Path | None, "model artifact of the judge"] = None
    endpoint: Annotated[str | None, "of a judge behind one, as JSON"] = None
    against: Annotated[list[Path], "evaluation artifacts with the responses to compare with"] = (
        field(default_factory=list)
    )
    micro_batch_tokens: MicroBatchTokens = MICRO_BATCH_TOKENS
    threads: Threads = 1

    def inputs(self) -> dict[str, Path]:
        """The given artifacts by role."""
        roles = {"evaluation": self.evaluation, "data": self.data, "judge": self.judge}
        roles |= {f"against-{index}": path for index, path in enumerate(self.against)}
        return {role: path for role, path in roles.items() if path is not None}


@dataclass(frozen=True)
class ReportOptions:
    """Writes scores, tables, plots and one page of all evaluations of an experiment."""

    job: JobFile
    grid: Annotated[Path, "the experiment's grid.csv"]
    results: Annotated[Path, "folder of all artifacts"]
    out: Out


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
