"""Named ranges for hyperparameters: the annotation of a field says which values it accepts.

They are looked up by name from the source of a loss or a policy, so that a configuration is
checked without importing torch (see `pipeline.methods.components`).
"""

from string import Formatter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

ESTIMATORS = ("k2", "k3")  # of a KL, that serve as a loss
PLACEHOLDERS = ("prompt", "example_prompt", "example_response")  # of a privileged prompt


def with_a_prompt(template: str) -> str:
    """A template of a privileged prompt. Raises ValueError unless the prompt is in it once."""
    names = [name for _, name, *_ in Formatter().parse(template) if name is not None]
    if names.count("prompt") != 1 or not set(names) <= set(PLACEHOLDERS):
        allowed = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise ValueError(f"allowed: a text with {{prompt}} once, and of {allowed} any other")
    return template


def _known_estimator(name: str) -> str:
    if name == "k1":
        raise PydanticCustomError(
            "estimator",
            "as a loss, k1 has an expected gradient of zero: as an advantage it is the loss opd; "
            "allowed: k2, k3",
        )
    if name not in ESTIMATORS:
        raise PydanticCustomError("estimator", "allowed: k2, k3")
    return name


Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
LARGEST = 3e38  # in float32
Positive = Annotated[float, Field(gt=0, le=LARGEST)]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST)]
Real = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
LIMIT = 2**31  # of counts and seeds: tables store them in 32 bits
Count = Annotated[int, Field(ge=1, lt=LIMIT)]
NonNegativeCount = Annotated[int, Field(ge=0, lt=LIMIT)]
Text = Annotated[str, Field(min_length=1)]
Line = Annotated[str, Field(max_length=4096, pattern=r"^[^\x00-\x1f]+$")]  # a path, or a name
Word = Annotated[str, Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
LayerMap = Annotated[Literal["last", "uniform"], Field()]  # which layers of two models are compared
BaseDivergence = Annotated[str, Field()]  # a loss with `needs_only_distributions`, by its name
KlEstimator = Annotated[str, AfterValidator(_known_estimator)]
PromptTemplate = Annotated[str, AfterValidator(with_a_prompt)]
Shown = Literal["reference", "demonstration", "solution"]
