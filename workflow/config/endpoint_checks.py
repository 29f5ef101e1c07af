"""Checks of models behind endpoints: what they can't give, and two that look like one."""

from collections.abc import Iterator, Mapping

from pipeline.methods.method import Method
from pipeline.settings.experiment import Experiment


def faults(experiment: Experiment, methods: Mapping[str, Method]) -> Iterator[str]:
    """Everything that is wrong with the endpoints, a line each."""
    yield from _address_faults(experiment)
    served = experiment.teachers.keys() - experiment.local_teachers.keys()
    on_text = [name for name, method in methods.items() if not method.reads_distributions]
    for index, block in enumerate(experiment.blocks):
        asked = [name for name in block.teachers if name in served]
        for name in block.methods:
            if asked and name in methods and name not in on_text:
                yield (
                    f"grid.{index}: method {name} reads distributions of the teacher, and "
                    f"{asked[0]} is behind an endpoint, which gives text alone; allowed with it: "
                    f"{', '.join(on_text) or 'methods on text, such as seqkd'}"
                )
    if served and not experiment.local_teachers and "exposure" in experiment.evaluation.tasks:
        yield (
            "evaluation.tasks: exposure reads distributions of the teacher, and all teachers are "
            "behind endpoints; leave it out"
        )


def _address_faults(experiment: Experiment) -> Iterator[str]:
    """Models of one name at two addresses, which would share their results."""
    first: dict[str, tuple[str, str]] = {}
    for key, (model, endpoint) in experiment.endpoints.items():
        other, url = first.setdefault(model, (key, endpoint.url))
        if url != endpoint.url:
            yield (
                f"{key}.model = {model!r}: {other} has a model of this name at another address; "
                "let the servers give different models different names"
            )
