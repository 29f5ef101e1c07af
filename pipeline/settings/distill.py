"""All that a training job may know."""

from typing import Literal

from pipeline.methods.ranges import Count, NonNegative, Share
from pipeline.settings.base import Settings
from pipeline.settings.teacher import Combination, Draws
from pipeline.settings.training import Training

Values = dict[str, float | int | bool | str]


class MethodSettings(Settings):
    """A method with all its hyperparameters decided."""

    later_keys = ("draws", "teachers", "features", "feature_settings")

    loss: str
    loss_settings: Values = {}
    policy: str
    policy_settings: Values = {}
    teacher: Literal["none", "text", "cache", "live", "self"]
    draws: Draws | None = None  # of the teacher's distributions, in each step; null: none
    teachers: Combination | None = None  # whose distributions are combined into one
    update: str | None = None
    update_settings: Values = {}
    features: str | None = None
    feature_settings: Values = {}
    gold_weight: Share = 0.0
    plain_text_weight: NonNegative = 0.0
    plain_text_kl: Share = 0.0


class DistillSettings(Settings):
    """A method, a budget and a seed."""

    method: MethodSettings
    training: Training
    max_new_tokens: Count
    seed: int
