"""Checks of chat templates: files that are none, and tokenizers that have none."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.settings.data import ChatTemplate
from pipeline.settings.experiment import Experiment
from pipeline.settings.models import Tokenizer
from workflow.config.saved_models import chat_templates, vocabulary_source

PLACE = "data.template"
MEND = "name a file with one, as `template: {chat: FILE.jinja}`, or write a text template"


def file_faults(template: ChatTemplate) -> Iterator[str]:
    """What is wrong with the file of a chat template, as far as its text tells."""
    if template.chat == "tokenizer":
        return
    place = f"{PLACE}.chat = {template.chat!r}"
    try:
        text = Path(template.chat).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        yield f"{place}: it is not UTF-8 ({error.reason}); convert the file"
    except (OSError, ValueError):
        yield (
            f"{place}: there is no such file (a relative path starts at {Path.cwd()}); allowed: "
            "one, or tokenizer for the tokenizer's own template"
        )
    else:
        yield from _text_faults(template, text, place)


def _text_faults(template: ChatTemplate, text: str, place: str) -> Iterator[str]:
    # a template language that no other experiment needs to be loaded for
    from pipeline.data.chat_template_syntax import GENERATION, syntax_fault

    if not text.strip():
        yield f"{place}: the file is empty"
    elif fault := syntax_fault(text):
        yield f"{place}: it is no Jinja template ({fault}); fix it"
    elif template.generation_mask and not GENERATION.search(text):
        yield _no_marks(template.chat)


def tokenizer_faults(experiment: Experiment) -> Iterator[str]:
    """Tokenizers that write conversations, and have no template for them."""
    template = experiment.data.template
    if not isinstance(template, ChatTemplate) or template.chat != "tokenizer":
        return
    from pipeline.data.chat_template_syntax import GENERATION  # as above

    for place, model in _tokenizers(experiment).items():
        if model is None:
            yield f"{PLACE} = 'chat': the tokenizer that `{place}` trains has no template; {MEND}"
            continue
        texts = chat_templates(vocabulary_source(experiment, model))
        if texts == []:
            yield f"{PLACE} = 'chat': the tokenizer of model {model} has no chat template; {MEND}"
        elif texts and template.generation_mask and not any(map(GENERATION.search, texts)):
            yield _no_marks(f"the chat template of model {model}")


def _tokenizers(experiment: Experiment) -> dict[str, str | None]:
    """The tokenizers of the experiment's texts, by key: whose they are; None: trained here."""
    local = experiment.local_teachers
    trained = {
        f"teachers.{name}.tokenizer": None
        for name, teacher in local.items()
        if isinstance(teacher.tokenizer, Tokenizer)
    }
    own = {
        f"teachers.{name}.tokenizer": teacher.model
        for name, teacher in local.items()
        if teacher.tokenizer == "own"
    }
    sharing = [each for each in local.values() if each.tokenizer is None]
    first = [*sharing, *experiment.students.values()][0]  # as in workflow.grid.grid
    shared = {"tokenizer": first.model if experiment.tokenizer is None else None}
    return shared | trained | own


def _no_marks(name: str) -> str:
    return (
        f"{PLACE}.generation_mask = True: {name} has no {{% generation %}}; leave it out, or mark "
        "in the template what the model generates"
    )
