"""Who pays for what: the cost of each job, charged to the trainings that it was done for.

What a training was made from stands in the manifests. In full, it is charged with all of that, as
if nobody else used it; amortised, a job is divided among the trainings of the grid that use it, so
that over these trainings each job is paid once. Evaluations are charged to nobody.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

from pipeline.reporting.analysis.load import ReportInputs
from pipeline.runtime.costs import JobCost

JOBS = ("teachers/", "starts/", "texts/", "caches/", "students/")  # stages that read models
NEEDS = ("start", "teacher", "texts", "cache")  # roles in which another job's artifact is used


@dataclass(frozen=True)
class Charge:
    """Costs that are charged together; None where one of them is not known."""

    seconds: float
    device_seconds: float
    flops: float | None
    energy_joules: float | None
    trained_tokens: float
    student_generated_tokens: float
    teacher_generated_tokens: float
    teacher_tokens: float
    memory_bytes: float  # the highest peak of all jobs

    def plus(self, other: "Charge") -> "Charge":
        """Both together."""
        return Charge(
            self.seconds + other.seconds,
            self.device_seconds + other.device_seconds,
            _sum(self.flops, other.flops),
            _sum(self.energy_joules, other.energy_joules),
            self.trained_tokens + other.trained_tokens,
            self.student_generated_tokens + other.student_generated_tokens,
            self.teacher_generated_tokens + other.teacher_generated_tokens,
            self.teacher_tokens + other.teacher_tokens,
            max(self.memory_bytes, other.memory_bytes),
        )

    def times(self, share: float) -> "Charge":
        """A share of it; memory cannot be shared."""
        return Charge(
            share * self.seconds,
            share * self.device_seconds,
            None if self.flops is None else share * self.flops,
            None if self.energy_joules is None else share * self.energy_joules,
            share * self.trained_tokens,
            share * self.student_generated_tokens,
            share * self.teacher_generated_tokens,
            share * self.teacher_tokens,
            self.memory_bytes,
        )


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


NOTHING = Charge(0, 0, 0, 0, 0, 0, 0, 0, 0)


def charge_of(job_cost: JobCost) -> Charge:
    """The whole cost of one job."""
    cost = job_cost.cost
    return Charge(
        cost.seconds,
        cost.device_seconds,
        cost.flops,
        cost.energy_joules,
        cost.trained_tokens,
        cost.student_generated_tokens,
        cost.teacher_generated_tokens,
        cost.teacher_tokens,
        cost.peak_memory_bytes,
    )


def total(charges: Iterable[Charge]) -> Charge:
    """All of them together."""
    return reduce(Charge.plus, charges, NOTHING)


@dataclass(frozen=True)
class Ledger:
    """Every job behind the trainings of a grid, by "stage/id", and what each training is charged.

    In full and amortised it is None for a training of which a part is lost.
    """

    own: Mapping[str, Charge]  # of each job, trainings and all others
    users: Mapping[str, int]  # how many trainings a job was done for
    in_full: Mapping[str, Charge | None]
    amortised: Mapping[str, Charge | None]


@dataclass(frozen=True)
class Account:
    """A way to charge a training."""

    title: str
    charges: Callable[[Ledger], Mapping[str, Charge | None]]


OWN = Account("own", lambda ledger: ledger.own)
IN_FULL = Account("in full", lambda ledger: ledger.in_full)
AMORTISED = Account("amortised", lambda ledger: ledger.amortised)
ACCOUNTS = (OWN, IN_FULL, AMORTISED)


def ledger_of(inputs: ReportInputs) -> Ledger:
    """The ledger of the trainings that the grid compares."""
    methods = inputs.grid.loc[inputs.grid["kind"] == "method", "student_id"]
    trainings = [f"students/{id}" for id in dict.fromkeys(methods)]
    found: dict[str, frozenset[str] | None] = {}
    needs = {one: _needs(one, inputs.manifests, found) for one in trainings}
    users = Counter(one for of in needs.values() for one in of or ())
    jobs = sorted({*users, *trainings})
    own = {one: charge_of(inputs.costs[one.partition("/")[2]]) for one in jobs}
    shares = {one: own[one].times(1 / users[one]) for one in users}
    return Ledger(own, users, _together(needs, own), _together(needs, shares))


def _together(
    needs: Mapping[str, frozenset[str] | None], charges: Mapping[str, Charge]
) -> dict[str, Charge | None]:
    return {
        training: None if jobs is None else total(charges[one] for one in sorted(jobs))
        for training, jobs in needs.items()
    }


def _needs(
    job: str,
    manifests: Mapping[str, Mapping[str, object]],
    found: dict[str, frozenset[str] | None],
) -> frozenset[str] | None:
    """A job and all those before it; None where the manifest of one is lost."""
    if job not in found:
        parts: list[frozenset[str] | None] = [frozenset({job})]
        for role, path in dict(manifests[job].get("inputs", {})).items():
            if path.startswith(JOBS):
                parts.append(_needs(path, manifests, found))
            elif path not in manifests and role.partition("-")[0] in NEEDS:
                parts.append(None)
        known = [part for part in parts if part is not None]
        found[job] = frozenset().union(*known) if len(known) == len(parts) else None
    return found[job]
