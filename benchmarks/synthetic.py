"""Synthetic sweeps whose law is known, in the designs that real sweeps have.

A design draws a law, decides which cells were run at which rates, and asks for cells that were not: two to four times
the size, the horizon or both, unless stated otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.law import Observations

Array = NDArray[np.float64]
Random = np.random.Generator
Shape = Callable[[Array], Array]
Rates = Callable[[Random, Array], list[Array]]
"""From the true ln η* of the cells [cells] to the ln η tried in each."""

COLUMNS = ("params", "tokens", "batch_tokens", "learning_rate", "loss")
LARGE = (2e8, 1e10, 3e5)
SMALL = (1e4, 2.6e5, 2048.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """A law and its noise; n, d, b are logarithms over `reference`.

    Attributes:
        level, alpha, beta, gamma: Of ln η* = level + α n + β d + γ b + …
        drift, bend, curl: … + drift·d·b + bend·b² + curl·n².
        cell, size: Standard deviation of the shift of each cell, and of the one that all cells of a size share.
        noise: Standard deviation of ln loss.
        shared: Share of its variance that the horizons of one size, batch and rate have in common, as forks of a trunk do.
        curvature: ln C of a loss that rises by C·shape(ln η − ln η*).
        shape: Zero, and least, at zero.
        bottom: Loss at the bottom of a bowl at the reference.
        reference: N, D, B.
    """

    level: float
    alpha: float
    beta: float
    gamma: float
    drift: float
    bend: float
    cell: float
    size: float
    noise: float
    curvature: float
    shape: Shape
    curl: float = 0.0
    shared: float = 0.0
    bottom: float = 3.0
    reference: tuple[float, float, float] = LARGE

    def optimum(self, places: Array) -> Array:
        """The true ln η* without the shifts of cells and sizes, [m, 3] -> [m]."""
        n, d, b = np.log(places / self.reference).T
        straight = self.level + self.alpha * n + self.beta * d + self.gamma * b
        return np.asarray(straight + self.drift * d * b + self.bend * b * b + self.curl * n * n)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A sweep and its truth.

    Attributes:
        runs: The runs made.
        cells: Their places, and the true ln η* there.
        places: N, D, B of the targets, shape [m, 3].
        optimum: True ln η* there, shape [m].
        steepness: C there, shape [m].
        shape: Of every bowl.
    """

    runs: Observations
    cells: dict[tuple[float, float, float], float]
    places: Array
    optimum: Array
    steepness: Array
    shape: Shape

    def excess(self, log_rate: Array) -> Array:
        """True excess loss of ln η at the targets, [m] -> [m]; 0.001 is 0.1 %."""
        return np.asarray(np.expm1(self.steepness * self.shape(log_rate - self.optimum)))


def lopsided(asymmetry: float) -> Shape:
    """The shape that the law assumes."""
    a = asymmetry
    return lambda u: 2 / a**2 * (np.expm1(a * u) - a * u)


def power(exponent: float) -> Shape:
    """|u| to a power."""
    return lambda u: np.abs(u) ** exponent


def hinge(above: float) -> Shape:
    """Straight on both sides, `above` times as steep above."""
    return lambda u: np.where(u > 0, above * u, -u)


def quartic(cubic: float, fourth: float) -> Shape:
    """u² + cubic·u³ + fourth·u⁴; one minimum where 9·cubic² < 32·fourth."""
    return lambda u: u**2 + cubic * u**3 + fourth * u**4


def wall(distance: float, steepness: float, width: float) -> Shape:
    """u² and a softplus that turns into a straight wall `distance` above the bottom, less its tangent at the bottom."""
    at = -distance / width
    level, tilt = np.logaddexp(0, at), 1 / (1 + np.exp(-at))
    return lambda u: (
        u**2 + steepness * width * (np.logaddexp(0, (u - distance) / width) - level - tilt * u / width)
    )


def draw_truth(rng: Random) -> Truth:
    """A law like those of real recipes: it falls with N, with D by batch, and rises with B until it saturates.

    Sizes shift ln η* by 0.03 to 0.05 in Step Law's runs (arXiv 2503.04715), by 0.1 to 0.25 in OpenEuroLLM's
    (arXiv 2608.28308).
    """
    return Truth(
        level=rng.normal(-6.0, 1.0),
        alpha=rng.normal(-0.45, 0.2),
        beta=rng.normal(-0.1, 0.2),
        gamma=rng.normal(0.3, 0.15),
        drift=rng.normal(0.08, 0.05),
        bend=rng.normal(-0.06, 0.04),
        cell=np.exp(rng.normal(np.log(0.05), 0.4)),
        size=log_uniform(rng, 0.03, 0.25),
        noise=log_uniform(rng, 2e-4, 4e-3),
        curvature=rng.normal(-4.3, 0.4),
        shape=lopsided(rng.uniform(-0.5, 1.5)),
    )


def log_uniform(rng: Random, low: float, high: float) -> float:
    """A number between two others, as likely in each octave."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def lattice(rng: Random, optimum: Array) -> list[Array]:
    """Five to ten rates, a factor 1.4 to 2 apart, the same in all cells, centred near their median optimum."""
    centre = np.median(optimum) + rng.normal(0, 0.3)
    rates = int(rng.integers(5, 11))
    steps = rng.uniform(0.35, 0.7) * (np.arange(rates) - (rates - 1) / 2)
    return [centre + steps] * optimum.size


def own_rates(fewest: int, most: int, gap: float, spread: float) -> Rates:
    """Other rates in each cell, unevenly spaced, centred within a factor e^0.3 of its optimum.

    Args:
        fewest: Rates of a cell, at least.
        most: Rates of a cell, at most.
        gap: Median distance in ln η between neighbours.
        spread: Standard deviation of the logarithm of that distance.
    """

    def rates(rng: Random, optimum: Array) -> list[Array]:
        found = []
        for bottom in optimum:
            at = np.cumsum(gap * np.exp(rng.normal(0, spread, rng.integers(fewest, most + 1))))
            found.append(bottom + rng.normal(0, 0.3) + at - at.mean())
        return found

    return rates


def crossed(sizes: Array, horizons: Array, batches: Array) -> Array:
    """All cells of these sizes, horizons and batches, shape [cells, 3]."""
    return np.array([(n, d, b) for n in sizes for d in horizons for b in batches])


def drawn_sizes(rng: Random, fewest: int, most: int) -> Array:
    """Sizes a factor two apart."""
    return np.asarray(1e8 * 2.0 ** np.arange(rng.integers(fewest, most + 1)))


def drawn_horizons(rng: Random, fewest: int, most: int) -> Array:
    """Horizons a factor three apart."""
    return np.asarray(2e9 * 3.0 ** np.arange(rng.integers(fewest, most + 1)))


def drawn_batches(rng: Random, choice: tuple[int, ...] = (1, 2)) -> Array:
    """Batches a factor two apart."""
    return np.asarray(131072 * 2.0 ** np.arange(rng.choice(choice)))


def one_step_up(rng: Random, cells: Array, tie: float = 0.0) -> Array:
    """Two to four times the largest size, the longest horizon or both; B grows with the size to the power `tie`."""
    factor = rng.uniform(2, 4)
    size, horizon = [(True, False), (False, True), (True, True)][rng.integers(3)]
    top = cells[cells[:, 0] == cells[:, 0].max()] if size else cells
    top = top[top[:, 1] == top[:, 1].max()] if horizon else top
    return np.asarray(top * [factor**size, factor**horizon, factor ** (tie * size)])


def world(rng: Random, truth: Truth, cells: Array, targets: Array, rates: Rates = lattice) -> World:
    """Draws the shifts of cells and sizes, the rates, and the losses."""
    places = np.concatenate([cells, targets])
    _, size = np.unique(places[:, 0], return_inverse=True)
    optimum = truth.optimum(places) + rng.normal(0, truth.cell, len(places))
    optimum += rng.normal(0, truth.size, size.max() + 1)[size]
    tried = rates(rng, optimum[: len(cells)])
    rows: list[tuple[float, ...]] = []
    trunks: dict[tuple[float, float, float], float] = {}
    for place, bottom, x in zip(cells, optimum, tried, strict=False):
        common = (
            [trunks.setdefault((place[0], place[2], round(at, 9)), rng.standard_normal()) for at in x]
            if truth.shared
            else None
        )
        loss = losses(truth, rng, place, x - bottom, common)
        rows += [(*place, np.exp(at), value) for at, value in zip(x, loss, strict=True)]
    columns = dict(zip(COLUMNS, np.array(rows, dtype=np.float64).T, strict=True))
    return World(
        runs=Observations(**columns, trunk=trunk_of(columns) if truth.shared else None),
        cells=dict(zip(map(tuple, cells.tolist()), optimum.tolist(), strict=False)),
        places=targets,
        optimum=optimum[len(cells) :],
        steepness=np.exp(truth.curvature + rng.normal(0, 0.15, len(targets))),
        shape=truth.shape,
    )


def trunk_of(columns: dict[str, Array]) -> NDArray[np.int64]:
    """A label for each size, batch and rate, shape [runs]."""
    rate = np.round(np.log(columns["learning_rate"]), 9)
    keys = np.column_stack([columns["params"], columns["batch_tokens"], rate])
    return np.unique(keys, axis=0, return_inverse=True)[1].astype(np.int64).ravel()


def losses(truth: Truth, rng: Random, place: Array, u: Array, common: list[float] | None) -> Array:
    """Losses of one cell at distances u from its bottom, NaN where a run diverged."""
    rise = np.exp(truth.curvature + rng.normal(0, 0.15)) * truth.shape(u)
    noise = rng.standard_t(5, u.size) * np.sqrt(3 / 5)
    if common is not None:
        noise = np.sqrt(1 - truth.shared) * noise + np.sqrt(truth.shared) * np.array(common)
    n, d, _ = place / truth.reference
    loss = truth.bottom * n**-0.06 * d**-0.07 * np.exp(np.minimum(rise, 2.0) + truth.noise * noise)
    return np.asarray(np.where((u > 1.5) & (rng.random(u.size) < 0.5), np.nan, loss), dtype=np.float64)


def grid(rng: Random) -> World:
    """All sizes × horizons × batches on one lattice of rates; asked for the next size, twice the largest."""
    truth = draw_truth(rng)
    sizes, horizons = drawn_sizes(rng, 3, 5), drawn_horizons(rng, 2, 4)
    batches = drawn_batches(rng, (1, 2, 4))
    return world(rng, truth, crossed(sizes[:-1], horizons, batches), crossed(sizes[-1:], horizons, batches))


def sparse(rng: Random) -> World:
    """Three or four uneven rates a cell, a fifth to two fifths of the cells missing, as a planner leaves them."""
    truth = draw_truth(rng)
    cells = crossed(drawn_sizes(rng, 3, 5), drawn_horizons(rng, 2, 4), drawn_batches(rng))
    kept = rng.permutation(len(cells))[: max(4, round(len(cells) * rng.uniform(0.6, 0.8)))]
    cells = cells[np.sort(kept)]
    return world(rng, truth, cells, one_step_up(rng, cells), own_rates(3, 4, 0.6, 0.4))


def uneven(rng: Random) -> World:
    """Rates spaced unevenly and differently in each cell."""
    truth = draw_truth(rng)
    cells = crossed(drawn_sizes(rng, 2, 4), drawn_horizons(rng, 2, 4), drawn_batches(rng))
    return world(rng, truth, cells, one_step_up(rng, cells), own_rates(4, 9, 0.4, 0.5))


def tied_batch(rng: Random) -> World:
    """The batch grows with the model, B ∝ N^0.5 to N, within 0 to 20 %; the target's grows on."""
    truth, tie, scatter = draw_truth(rng), rng.uniform(0.5, 1.0), rng.uniform(0, 0.2)
    cells = crossed(drawn_sizes(rng, 3, 5), drawn_horizons(rng, 2, 4), np.array([131072.0]))
    cells[:, 2] *= (cells[:, 0] / 1e8) ** tie * np.exp(rng.normal(0, scatter, len(cells)))
    return world(rng, truth, cells, one_step_up(rng, cells, tie))


def tied_horizon(rng: Random) -> World:
    """D of about 20 N: two or three ratios, four to six sizes; the target's horizon grows with its size."""
    truth = draw_truth(rng)
    ratios = rng.choice([10.0, 20.0, 40.0, 80.0], rng.integers(2, 4), replace=False)
    cells = crossed(drawn_sizes(rng, 4, 6), ratios, drawn_batches(rng))
    cells[:, 1] *= cells[:, 0]
    factor = rng.uniform(2, 4)
    return world(rng, truth, cells, cells[cells[:, 0] == cells[:, 0].max()] * [factor, factor, 1.0])


def one_size(rng: Random) -> World:
    """One size at three to five horizons; asked for up to eight times the longest."""
    truth = draw_truth(rng)
    size = np.array([1e8 * 2.0 ** rng.uniform(0, 4)])
    horizons = np.asarray(2e9 * 2.0 ** np.arange(rng.integers(3, 6)), dtype=np.float64)
    batches = drawn_batches(rng)
    cells = crossed(size, horizons, batches)
    return world(rng, truth, cells, crossed(size, horizons[-1:] * rng.uniform(2, 8), batches))


def one_horizon(rng: Random) -> World:
    """Three to five sizes at one horizon; asked for a larger size there."""
    truth = draw_truth(rng)
    sizes, horizon = drawn_sizes(rng, 3, 5), np.array([2e9 * 2.0 ** rng.uniform(0, 4)])
    batches = drawn_batches(rng)
    targets = crossed(sizes[-1:] * rng.uniform(2, 4), horizon, batches)
    return world(rng, truth, crossed(sizes, horizon, batches), targets)


def moe(rng: Random) -> World:
    """Mixtures of experts: flatter bowls, higher noise, exponents near those of arXiv 2601.05049."""
    truth = replace(
        draw_truth(rng),
        alpha=rng.normal(-0.25, 0.1),
        beta=rng.normal(-0.3, 0.1),
        noise=log_uniform(rng, 2e-3, 6e-3),
        curvature=rng.normal(-4.9, 0.3),
    )
    cells = crossed(drawn_sizes(rng, 4, 4), drawn_horizons(rng, 3, 3), drawn_batches(rng))
    return world(rng, truth, cells, one_step_up(rng, cells))


def bits(rng: Random) -> World:
    """Losses of 0.6 to 1.2 bits per byte, whose noise is another share of them."""
    truth = replace(draw_truth(rng), bottom=rng.uniform(0.75, 1.05), noise=log_uniform(rng, 5e-4, 8e-3))
    cells = crossed(drawn_sizes(rng, 2, 4), drawn_horizons(rng, 2, 4), drawn_batches(rng))
    return world(rng, truth, cells, one_step_up(rng, cells))


def crashes(rng: Random) -> World:
    """A grid of which 5 to 15 % crashed at random rates, and 1 to 3 % show a loss 1 to 20 % off, mostly too high."""
    whole = grid(rng)
    chance, loss = rng.random(whole.runs.size), whole.runs.loss.copy()
    off = rng.random(loss.size) < rng.uniform(0.01, 0.03)
    wrong = rng.uniform(0.01, 0.2, loss.size) * np.where(rng.random(loss.size) < 0.8, 1, -1)
    loss = np.where(chance < rng.uniform(0.05, 0.15), np.nan, loss * np.exp(np.where(off, wrong, 0.0)))
    columns = {name: getattr(whole.runs, name) for name in COLUMNS}
    return replace(whole, runs=Observations(**{**columns, "loss": loss}))


def proxies(rng: Random) -> World:
    """Tiny models: forks of one trunk share its noise, and the bowls are not of the law's shape."""
    shapes = (
        quartic(rng.uniform(0, 0.4), rng.uniform(0.1, 0.25)),
        wall(rng.uniform(0.3, 1.2), rng.uniform(1, 5), rng.uniform(0.1, 0.4)),
    )
    truth = replace(
        draw_truth(rng),
        alpha=rng.normal(-0.41, 0.05),
        beta=rng.normal(-0.44, 0.05),
        noise=log_uniform(rng, 1e-3, 5e-3),
        curvature=rng.normal(-3.7, 0.3),
        shape=shapes[rng.integers(2)],
        shared=rng.uniform(0.3, 0.8),
        bottom=2.0,
        reference=SMALL,
    )
    sizes, horizons = np.array([9e3, 2.4e4, 4.9e4, 9.8e4]), 1.31e5 * np.array([1.0, 2.0, 4.0])
    cells = crossed(sizes, horizons, np.array([rng.choice([256.0, 2048.0])]))

    def following(rng: Random, optimum: Array) -> list[Array]:
        middle = np.array([np.median(optimum[cells[:, 0] == n]) for n in sizes]) + rng.normal(0, 0.2)
        steps = np.log(1.8) * (np.arange(7) - 3)
        return [middle[np.searchsorted(sizes, n)] + steps for n in cells[:, 0]]

    return world(rng, truth, cells, one_step_up(rng, cells), following)


def trunks(rng: Random) -> World:
    """A noisy grid whose three to five horizons of one size, batch and rate are branches of a trunk."""
    truth = replace(draw_truth(rng), shared=0.84, noise=log_uniform(rng, 2e-3, 8e-3))
    cells = crossed(drawn_sizes(rng, 2, 4), drawn_horizons(rng, 3, 5), drawn_batches(rng))
    return world(rng, truth, cells, one_step_up(rng, cells))


def curved(rng: Random) -> World:
    """The optimum curves in ln N, mostly upwards (arXiv 2606.29158)."""
    truth = replace(draw_truth(rng), curl=rng.uniform(-0.03, 0.1))
    cells = crossed(drawn_sizes(rng, 4, 6), drawn_horizons(rng, 2, 3), drawn_batches(rng))
    return world(rng, truth, cells, one_step_up(rng, cells))


def misshapen(rng: Random) -> World:
    """Bowls of other shapes: |u|^1.5, a quadratic, two straight lines."""
    shapes = (power(1.5), power(2.0), hinge(rng.uniform(1, 2)))
    truth = replace(draw_truth(rng), shape=shapes[rng.integers(3)])
    cells = crossed(drawn_sizes(rng, 2, 4), drawn_horizons(rng, 2, 4), drawn_batches(rng))
    return world(rng, truth, cells, one_step_up(rng, cells))


DESIGNS: dict[str, Callable[[Random], World]] = {
    design.__name__.replace("_", " "): design
    for design in (
        grid,
        sparse,
        uneven,
        tied_batch,
        tied_horizon,
        one_size,
        one_horizon,
        moe,
        bits,
        crashes,
        proxies,
        trunks,
        curved,
        misshapen,
    )
}
