"""Coverage of 95 % intervals, and false claims of tests, with few training seeds.

Experiments are simulated with known truth: methods whose scores vary over training seeds, over
items, and over both together, equally good or not, some rows being copies of another or constant
over seeds. The report's intervals are compared with two that it does not use: the hierarchical
bootstrap's percentiles, and Student's t on the seeds alone.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy import special

from benchmarks import results
from pipeline.stages import command_line
from pipeline.statistics import bootstrap, copies
from pipeline.statistics.items import Contributions, contributions, influence_products
from pipeline.statistics.tests import ALPHA, holm_family, sign_flip_p_values

DRAWS = 400  # of the bootstrap
FEWER = 4  # trials per trial of the sign-flip test, which is slow and not in doubt


@dataclass(frozen=True)
class Truth:
    """Standard deviations of each source of variance, and the true differences of methods."""

    name: str
    methods: int = 6
    seeds: int = 3
    items: int = 500
    seed: float = 0.1  # of all methods alike: it cancels in differences
    training: float = 0.05  # of one training of one method
    unequal: float = 0.0  # of the logarithm of `training`, over methods
    item: float = 0.5  # how well a method suits an item, whatever the seed
    luck: float = 1.0  # of one training on one item
    heavy: bool = False  # all noise from Student's t with 3 degrees of freedom
    weighted: bool = False  # items are weighted by their tokens
    apart: float = 0.0  # true lead of each two methods over the two before them
    still: int = 0  # the first methods, that come out of every training the same
    twins: int = 0  # rows that copy the second method
    noise: float = 1e-5  # of a copy: of its training, and as much on each item of it


@dataclass(frozen=True)
class Drawn:
    """An experiment: sums [rows, seeds, items], methods first, then copies of the second."""

    weighted: np.ndarray
    weights: np.ndarray
    spreads: np.ndarray  # of one training, for each row
    means: np.ndarray  # true, of each row
    methods: int


def draw(truth: Truth, rng: np.random.Generator) -> Drawn:
    """One experiment."""

    def noise(*shape: int) -> np.ndarray:
        if truth.heavy:
            return rng.standard_t(3, shape) / np.sqrt(3)
        return rng.standard_normal(shape)

    shape = (truth.methods, truth.seeds, truth.items)
    spreads = truth.training * np.exp(truth.unequal * rng.standard_normal(truth.methods))
    means = truth.apart * (np.arange(truth.methods) // 2)
    moved = truth.seed * noise(truth.seeds)[:, None]  # by a seed, for all alike
    moved = moved + (spreads[:, None] * noise(*shape[:2]))[:, :, None]
    luck = truth.luck * noise(*shape)
    moved[: truth.still], luck[: truth.still] = 0.0, luck[: truth.still, :1]
    values = (
        noise(truth.items)  # how hard an item is for all: it cancels in differences
        + means[:, None, None]
        + moved
        + truth.item * noise(truth.methods, 1, truth.items)
        + luck
    )
    copied = noise(truth.twins, truth.seeds, 1) + noise(truth.twins, *shape[1:])
    values = np.concatenate([values, values[[1] * truth.twins] + truth.noise * copied])
    tokens = rng.lognormal(3.0, 0.6, truth.items) if truth.weighted else np.ones(truth.items)
    weights = np.broadcast_to(tokens, values.shape)
    rows = np.r_[: truth.methods, [1] * truth.twins].astype(int)
    return Drawn(values * weights, weights, spreads[rows], means[rows], truth.methods)


@dataclass(frozen=True)
class Trial:
    """Results of each procedure in one experiment; shares of pairs or methods, without copies."""

    report: float  # pairs whose interval covers the truth
    noisiest: float  # the same for the pair whose trainings vary most
    means: float  # methods whose interval covers the truth
    seeds_only: float  # Student's t on the seeds' differences, ignoring items
    percentile: float  # the drawn hierarchical bootstrap, of the first pair
    claims: float  # equally good pairs with p < 0.05
    false_family: float  # 1 where any equally good pair is claimed after Holm, copies included
    power: float  # pairs that differ and are claimed after Holm; 1 where none differs
    width: float  # of the report's intervals, in those of `seeds_only`; the middle one


def trial(drawn: Drawn, draws: np.ndarray, rng: np.random.Generator) -> Trial:
    """All procedures on one experiment; `draws` are the bootstrap's [draws, items]."""
    items = contributions(drawn.weighted, drawn.weights)
    sums = influence_products(items.influences)
    first, other = np.triu_indices(len(items.scores), 1)
    true = drawn.means[first] - drawn.means[other]
    real = other < drawn.methods  # both are methods, no copies
    pairs = bootstrap.pairwise_estimates(items.scores, sums, first, other)
    p_values, halves = pairs.p_values(), pairs.half_widths()
    kinds = copies.hypotheses(copies.copy_classes(items.scores, sums), first, other)
    claimed = holm_family(p_values, kinds).adjusted < ALPHA
    held = np.abs(pairs.values - true) <= halves
    noisiest = np.argmax(drawn.spreads[first] ** 2 + drawn.spreads[other] ** 2)
    classic = _seeds_only(items.scores[first] - items.scores[other])
    wide = real & (classic > 0)
    return Trial(
        report=float(held[real].mean()),
        noisiest=float(held[noisiest]),
        means=_means_held(drawn, bootstrap.method_estimates(items.scores, sums)),
        seeds_only=float((np.abs(pairs.values - true) <= classic)[real].mean()),
        percentile=float(_percentiles_hold(items, draws, rng)),
        claims=float((p_values < ALPHA)[real & (true == 0)].mean()),
        false_family=float((claimed & (true == 0)).any()),
        power=float(claimed[real & (true != 0)].mean()) if drawn.means.any() else 1.0,
        width=float(np.median(halves[wide] / classic[wide])),
    )


def _means_held(drawn: Drawn, means: bootstrap.Estimates) -> float:
    """The share of methods whose interval holds their true mean."""
    held = np.abs(means.values - drawn.means) <= means.half_widths()
    return float(held[: drawn.methods].mean())


def flipped(drawn: Drawn) -> float:
    """The share of pairs that the sign-flip test over items tells apart."""
    items = contributions(drawn.weighted, drawn.weights)
    first, other = np.triu_indices(len(items.scores), 1)
    p_values = sign_flip_p_values(items.centred_on(items.scores.mean()).mean(axis=1), first, other)
    return float((p_values < ALPHA).mean())


def _seeds_only(differences: np.ndarray) -> np.ndarray:
    """Half-widths of Student's t intervals over seeds; without end for a single one."""
    seeds = differences.shape[1]
    if seeds == 1:
        return np.full(len(differences), np.inf)
    errors = differences.std(axis=1, ddof=1) / np.sqrt(seeds)
    return special.stdtrit(seeds - 1, 1 - ALPHA / 2) * errors


def _percentiles_hold(items: Contributions, draws: np.ndarray, rng: np.random.Generator) -> bool:
    """Whether the percentile interval of the drawn bootstrap covers the first two's difference."""
    low, high = np.quantile(drawn_differences(items, draws, rng), [ALPHA / 2, 1 - ALPHA / 2])
    return bool(low <= 0 <= high)


def drawn_differences(
    items: Contributions, draws: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The first method's score minus the second's, in resamples of seeds and items."""
    seeds = items.scores.shape[1]
    moved = items.influences[0] - items.influences[1]
    scores = (items.scores[0] - items.scores[1]) + (draws - 1) @ moved.T  # [draws, seeds]
    chosen = rng.multinomial(seeds, np.full(seeds, 1 / seeds), len(draws)) / seeds
    return (scores * chosen).sum(axis=1)


def item_draws(items: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How often each item is in each resample: [draws, items]."""
    return rng.multinomial(items, np.full(items, 1 / items), draws).astype(float)


@dataclass(frozen=True)
class Row:
    """A truth, the means of its trials, and the binomial standard error of 5 % of them."""

    truth: Truth
    trials: int
    error: float
    rates: Trial
    flips: float  # pairs with p < 0.05 in the sign-flip test over items; of fewer trials


def measured(truth: Truth, trials: int, seed: int) -> Row:
    """A row: `trials` experiments of one truth."""
    rng = np.random.default_rng([seed, truth.methods, truth.seeds, truth.items])
    draws = item_draws(truth.items, DRAWS, rng)
    outcomes = [asdict(trial(draw(truth, rng), draws, rng)) for _ in range(trials)]
    flips = [flipped(draw(truth, rng)) for _ in range(max(1, trials // FEWER))]
    means = {
        name: float(np.mean([measures[name] for measures in outcomes])) for name in outcomes[0]
    }
    error = float(np.sqrt(ALPHA * (1 - ALPHA) / trials))
    return Row(truth, trials, error, Trial(**means), float(np.mean(flips)))


def truths() -> Iterator[Truth]:
    """Few seeds, few and many items; each source of variance alone and all together."""
    for seeds in (1, 2, 3, 5):
        for items in (100, 500, 2000):
            yield Truth("all sources", seeds=seeds, items=items)
    for seeds in (2, 3, 5):
        yield Truth("seeds alone", seeds=seeds, training=0.3, item=0.0, luck=0.3)
        yield Truth("items alone", seeds=seeds, training=0.0, seed=0.0)
        yield Truth("luck alone", seeds=seeds, training=0.0, seed=0.0, item=0.0)
        yield Truth("two methods", seeds=seeds, methods=2)
        yield Truth("twelve methods", seeds=seeds, methods=12)
        yield Truth("heavy tails", seeds=seeds, heavy=True)
        yield Truth("token weights", seeds=seeds, weighted=True)
        yield Truth("seeds move all", seeds=seeds, seed=0.3)
        yield Truth("unequal", seeds=seeds, unequal=0.7, training=0.2)
        yield Truth("very unequal", seeds=seeds, unequal=1.2, training=0.2)
        yield Truth("unequal, twelve", seeds=seeds, unequal=0.7, training=0.2, methods=12)
    for seeds in (2, 3, 5):
        yield from _with_odd_rows(seeds)


def _with_odd_rows(seeds: int) -> Iterator[Truth]:
    """Methods that differ, alone, and with rows that copy one, nearly do, or never move."""
    plain = Truth("apart", seeds=seeds, apart=0.25, items=1000)
    yield plain
    yield replace(plain, name="apart, a twin", twins=1)
    yield replace(plain, name="apart, three twins", twins=3)
    yield replace(plain, name="apart, near a twin", twins=1, noise=5e-3)
    yield replace(plain, name="apart, two still", still=2)
    yield replace(plain, name="apart, a twin, two still", still=2, twins=1)
    yield replace(plain, name="apart, unequal", unequal=0.7, training=0.05)
    yield replace(plain, name="apart, unequal, a twin", unequal=0.7, training=0.05, twins=1)
    equal = replace(plain, apart=0.0)
    yield replace(equal, name="equal, a twin", twins=1)
    yield replace(equal, name="equal, two still", still=2)
    yield replace(equal, name="equal, a twin, unequal", unequal=0.7, training=0.2, twins=1)


COLUMNS = (
    ("interval", "report"),
    ("noisiest pair", "noisiest"),
    ("means", "means"),
    ("percentiles", "percentile"),
    ("t on seeds", "seeds_only"),
    ("p < 0.05", "claims"),
    ("Holm, any", "false_family"),
    ("power", "power"),
)


TITLES = ("truth", "methods", "seeds", "items", *(title for title, _ in COLUMNS), "flips", "width")
HEAD = f"| {' | '.join(TITLES)} |\n| --- |{' --: |' * (len(TITLES) - 1)}"


def line(row: Row) -> str:
    """A row as Markdown, in per cent; its width in that of Student's t on the seeds alone."""
    cells = {name: f"{100 * share:.1f}" for name, share in asdict(row.rates).items()}
    if not row.truth.apart:
        cells["power"] = ""  # of differences that there are
    sizes = (row.truth.methods, row.truth.seeds, row.truth.items)
    shares = (cells[name] for _, name in COLUMNS)
    last = (f"{100 * row.flips:.1f}", f"{row.rates.width:.2f}")
    return f"| {' | '.join([row.truth.name, *map(str, sizes), *shares, *last])} |"


def main() -> None:
    """Prints the table row by row, and writes it as JSON."""
    parser = results.parser(__doc__, "interval_coverage.json")
    parser.add_argument("--trials", type=int, default=2000, help="experiments of each truth")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(HEAD)
    rows = []
    for truth in truths():
        rows.append(measured(truth, arguments.trials, arguments.seed))
        print(line(rows[-1]), flush=True)
    results.write(arguments.out, rows)


if __name__ == "__main__":
    command_line.run(main)
