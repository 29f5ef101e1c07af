"""Named ranges for hyperparameters: the annotation of a field says which values it accepts.

They are looked up by name from the source of a loss or a policy, so that a configuration is
checked without importing torch (see `pipeline.methods.components`).
"""

from typing import Annotated

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Real = Annotated[float, Field(allow_inf_nan=False)]
LIMIT = 2**31  # of counts and seeds: tables store them in 32 bits
Count = Annotated[int, Field(ge=1, lt=LIMIT)]
NonNegativeCount = Annotated[int, Field(ge=0, lt=LIMIT)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
BaseDivergence = Annotated[str, Field()]  # a loss with `needs_only_distributions`, by its name
