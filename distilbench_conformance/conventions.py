"""What a loss is free to choose, found by measuring: each law returns the convention.

A choice is no fault. A value that fits no convention is, and raises `Broken`.
"""

import math

import torch

from distilbench_conformance.cases import case
from distilbench_conformance.subject import (
    NotAsked,
    Subject,
    error,
    expected,
    outcome,
    require,
)


def temperature(subject: Subject) -> str:
    """Logits are divided by the temperature T, and the loss is multiplied by T² or by nothing.

    With T² gradients keep their size as T grows; without it a learning rate means something
    else at each T. Both are in use.
    """
    subject.needs("temperature")
    batch, weight = case(), subject.known_weight
    for value in (2.0, 4.0):
        right = expected(subject, batch, weight, temperature=value).student
        measured = outcome(subject, batch, temperature=value).student
        factor = (measured.norm() / right.norm()).item()
        power = round(math.log(max(factor, 1e-9)) / math.log(value))
        require(power in (0, 2), f"{factor:.4g} times the divergence's gradient at T = {value:g}")
        off = error(measured, right * value**power)
        require(off <= subject.tolerance, f"the gradient is off by {off:.2g} at T = {value:g}")
    return "times T²" if power else "not scaled by T²"


def weighted_side(subject: Subject) -> str:
    """A weight w has one meaning at all values: the reference's, or 1 - w in its place.

    Papers and libraries differ in which side β weighs, so that a sweep is mirrored where it is
    copied.
    """
    subject.needs("weight")
    batch, sides = case(), {"w": True, "1 - w": True}
    for weight in (0.2, 0.5, 0.9):
        measured = outcome(subject, batch, weight=weight).student
        for side, of in (("w", weight), ("1 - w", 1 - weight)):
            off = error(measured, expected(subject, batch, of).student)
            sides[side] &= off <= subject.tolerance
    require(any(sides.values()), "at 0.2, 0.5 and 0.9 the gradient fits neither side")
    return next(side for side, fits in sides.items() if fits)


def ends(subject: Subject) -> str:
    """JSD at the weights 0 and 1 is zero, as the formula gives, or a KL divergence.

    By decree the ends are KL in many libraries, so that a sweep jumps there.
    """
    subject.needs("weight")
    if subject.divergence != "jsd":
        raise NotAsked("no JSD")
    batch, meanings = case(), []
    others = {name: Subject(subject.loss, name) for name in ("forward_kl", "reverse_kl")}
    for weight in (0.0, 1.0):
        measured = outcome(subject, batch, weight=weight).mean
        known = {name: expected(each, batch, 0.0).mean for name, each in others.items()}
        known["zero"] = torch.tensor(0.0)
        errors = {name: error(measured, right) for name, right in known.items()}
        fits = [name for name, off in errors.items() if off <= subject.tolerance]
        require(bool(fits), f"{measured:.6g} at {weight:g}: neither zero nor a KL divergence")
        meanings.append(fits[0].replace("_", " ").replace("kl", "KL"))
    return f"{meanings[0]} at 0, {meanings[1]} at 1"
