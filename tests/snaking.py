"""Snakemake as a user starts it, in a copy of the project, and what it says that it would do."""

import contextlib
import copy
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.copies import copy_project
from workflow.commands import main
from workflow.jobs.jobs import OUTDATED
from workflow.launch.preload_client import SERVER_ADDRESS

ROOT = Path(__file__).parent.parent
SERVE = """
import socket, sys
from workflow.launch import preload_server
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
preload_server.serve(listener)
"""
JOB = re.compile(r"^    output: (results/\S+)", re.MULTILINE)  # what Snakemake says of each job

ANIMALS = ["cat", "dog", "owl", "fox", "hen", "bee", "ant", "cow", "pig", "rat"]
COLOURS = ["red", "blue", "green", "brown", "grey", "black", "white", "pink"]
PLACES = ["barn", "field", "garden", "forest", "river", "house", "road", "hill"]

TINY: dict[str, Any] = {
    "experiment": "tiny",
    "data": {
        "examples": {"source": "files", "train": "DATA", "validation": 12, "test": 12},
        "template": {"with_input": "{input}\n", "without_input": "{instruction}\n"},
    },
    "tokens": {"prompt_tokens": 64, "response_tokens": 32},
    "tokenizer": {"vocabulary_size": 320},
    "models": {
        "wide": {"source": "shape", "layers": 2, "width": 32, "heads": 2},
        "narrow": {"source": "shape", "layers": 1, "width": 16, "heads": 2},
    },
    "teachers": {"large": {"model": "wide", "training": {"steps": 120}}},
    "students": {"small": {"model": "narrow"}},
    "training": {"steps": 12, "batch_size": 8, "learning_rate": 1e-2, "validations": 2},
    "initial_sft": {"steps": 2},
    "teacher_text": {"max_new_tokens": 8},
    "teacher_cache": {"k": 16},
    "rollout_tokens": 8,
    "methods": {"sft": None, "jsd": None},
    "grid": [{"seeds": [1]}],
    "evaluation": {"items": 6, "max_new_tokens": 16},
}


def write_examples(path: Path, count: int = 150) -> Path:
    """Distinct questions and answers in JSON lines."""
    draw = random.Random(0)
    questions = draw.sample([(a, c, p) for a in ANIMALS for c in COLOURS for p in PLACES], count)
    rows = [
        {
            "instruction": f"Where is the {colour} {animal} of the {place}?",
            "input": "",
            "output": f"The {colour} {animal} sleeps in the {place}.",
        }
        for animal, colour, place in questions
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_answerless(path: Path) -> Path:
    """Rows in JSON lines that a job refuses, though the first, looked at before it, is good."""
    first, *others = ({"instruction": f"Where is owl {n}?", "input": ""} for n in range(40))
    rows = [first | {"output": "Here."}, *others]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def edited(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with some keys set, named by their dotted paths."""
    changed = copy.deepcopy(dict(config))
    for path, value in changes.items():
        block: Any = changed
        *blocks, key = path.split(".")
        for part in blocks:
            block = block[int(part) if part.isdigit() else part]
        block[key] = value
    return changed


def saved_model(folder: Path, words: dict[str, int]) -> Path:
    """A tiny random Llama over these words, as transformers saves one."""
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<end>"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    return folder


def of_two_tokens(config: Mapping[str, Any], model: Mapping[str, str]) -> dict[str, Any]:
    """A configuration whose teacher and student are a saved model with a vocabulary of two."""
    changes = {"tokenizer": None, "teacher_cache.k": 2}
    return edited(config, changes | {"models.wide": model, "models.narrow": model})


class JobServers:
    """A server of preloaded libraries for each copy of the project, which its runs share.

    Its jobs have the environment that it was started in: in another one it is started again.
    """

    def __init__(self) -> None:
        self.started: dict[Path, tuple[forked.Process, str, dict[str, str]]] = {}
        self.sockets = tempfile.TemporaryDirectory()

    def address(self, folder: Path) -> str:
        """The address of the server of a copy, which is started if need be."""
        # pytest's own variable has the name of the test that runs
        variables = {name: text for name, text in environment().items() if "PYTEST" not in name}
        if folder in self.started and self.started[folder][2] != variables:
            self.stop(folder)
        if folder not in self.started:
            address = f"{self.sockets.name}/{len(list(Path(self.sockets.name).iterdir()))}"
            read, write = os.pipe()
            with os.fdopen(read) as listening, os.fdopen(write) as end:
                streams = [listening.fileno(), end.fileno(), 2]
                command = ["-c", SERVE, address]
                process = forked.jobs().begin(command, folder, variables, streams)
                end.close()
                assert listening.readline() == "listening\n"
            self.started[folder] = process, address, variables
        return self.started[folder][1]

    def stop(self, folder: Path) -> None:
        """Ends the server of a copy: it holds some of the source as it was."""
        if folder in self.started:
            process, *_ = self.started.pop(folder)
            process.send_signal(signal.SIGTERM)
            process.wait()


JOB_SERVERS = JobServers()


def environment() -> dict[str, str]:
    """That of a user's shell in which the project is installed, without the network."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
    }


@dataclass(frozen=True)
class Copy:
    """A copy of the project's source."""

    folder: Path

    def snakemake(
        self,
        config: Mapping[str, Any],
        *options: str,
        preloaded: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Snakemake on a configuration, its jobs forked from preloaded libraries if wished."""
        path = self.folder / f"{config['experiment']}.json"
        path.write_text(json.dumps(config))
        command = ["-m", "snakemake", "--configfile", path.name, *options]
        machine = environment()
        if preloaded:
            machine[SERVER_ADDRESS] = JOB_SERVERS.address(self.folder)
        return forked.snakemake().run(command, self.folder, machine)

    def made(self, config: Mapping[str, Any]) -> set[str]:
        """The outputs of the jobs that a run on a configuration had to do."""
        done = self.snakemake(config, "--cores", "2", preloaded=True)
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()
        return set(JOB.findall(done.stderr)) - {OUTDATED}

    def planned(self, config: Mapping[str, Any], *options: str) -> set[str]:
        """The outputs that a dry run would make, without `results/`, and without its markers."""
        done = self.snakemake(config, "--dry-run", "--quiet", "host", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        made = (path.removeprefix("results/") for path in JOB.findall(done.stdout))
        return {path for path in made if not path.startswith(".")}

    def plan(self, config: Mapping[str, Any]) -> set[str]:
        """What `distilbench plan` lists, as `planned`; of this source, with no edit of the copy."""
        path = self.folder / f"{config['experiment']}.json"
        path.write_text(json.dumps(config))
        listed = json.loads(distilbench(self.folder, "plan", path.name, "--json").stdout)["steps"]
        return {step["output"].removeprefix("results/") for step in listed}

    @contextlib.contextmanager
    def edit(self, file: str, old: str, new: str, at_end: str = "") -> Iterator[None]:
        """The copy with an edit in one of its source files, for as long as it lasts."""
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new, 1) + at_end)
        JOB_SERVERS.stop(self.folder)
        try:
            yield
        finally:
            path.write_text(text)
            JOB_SERVERS.stop(self.folder)

    def logs(self) -> str:
        """What the jobs have said."""
        paths = sorted((self.folder / "results/logs").rglob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text()}" for path in paths)


def distilbench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command as a user in this folder starts it, but in this process, which has it loaded.

    It is the command of this source: edits of a copy's source need a process of their own.
    """
    out, error = io.StringIO(), io.StringIO()
    redirected = (contextlib.redirect_stdout(out), contextlib.redirect_stderr(error))
    with contextlib.chdir(folder), redirected[0], redirected[1]:
        try:
            status = main.main(arguments)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
            print("" if isinstance(end.code, int) else end.code, file=sys.stderr)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), error.getvalue())


def fresh_copy(folder: Path) -> Copy:
    """The project's source in a folder, with nothing made yet."""
    copy_project(folder)
    return Copy(folder)
