"""A law in numbers: the written formula equals the law, within the difference that it states."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.answers.formula import Formula, formula
from orchestrator.law import Law, Observations, fit
from orchestrator.law.features import FEATURES, Reference, matrix
from orchestrator.law.observations import point_array
from tests.known_law import FAST, KnownLaw, grid, observations

CELLS = grid((1e6, 4e6, 16e6), (1e8, 4e8, 1.6e9), (65_536.0, 262_144.0))
STEPS = [math.exp(0.5 * step + 0.1) for step in range(-4, 5)]


def law_of(bend: float) -> Law:
    """The law of full bowls whose optimum is a power of N, D and B, bent in ln D."""
    known = KnownLaw(
        rate=8e-3,
        at=(4e6, 4e8, 131_072),
        exponents=(-0.4, -0.3, 0.3),
        bends=(0.0, bend),
        curvature=0.02,
        bottom=lambda cell: 2 + 8 * cell.params**-0.2,
    )
    rates = ((cell, step * known.optimum(cell)) for cell in CELLS for step in STEPS)
    return fit(observations((cell, rate, known.loss(cell, rate)) for cell, rate in rates))


@pytest.fixture(scope="module")
def straight() -> Law:
    return law_of(0.0)


@pytest.fixture(scope="module")
def curved() -> Law:
    return law_of(-0.12)


def read(text: str) -> str:
    """A written formula as Python."""
    text = text.replace("−", "-").replace("·", "*").replace("²", "**2")
    for symbol in "NDB":
        text = text.replace(f"ln({symbol}/{symbol}₀)", f"(np.log({symbol}) - np.log({symbol}0))")
    return re.sub(r"\b(ln|exp)\(", lambda found: {"ln": "np.log(", "exp": "np.exp("}[found[1]], text)


def evaluated(law: Law, written: Formula) -> np.ndarray:
    """The right side of ``ln η* = …`` in the law's cells, read back from the text."""
    terms = {}
    for line in filter(None, written.where.split(", ")):
        name, _, right = line.partition(" = ")
        terms[name] = f"({read(right)})"
    text = re.sub(r"\b[sw]\b", lambda found: terms[found[0]], read(written.logarithm))
    text = re.sub(r"\bw\b", lambda found: terms[found[0]], text)
    reference = law.reference
    names = {
        "N0": reference.params,
        "D0": reference.tokens,
        "B0": reference.batch_tokens,
        "N": np.array([bowl.params for bowl in law.bowls]),
        "D": np.array([bowl.tokens for bowl in law.bowls]),
        "B": np.array([bowl.batch_tokens for bowl in law.bowls]),
        "np": np,
    }
    return np.asarray(eval(text, names))


@pytest.mark.parametrize("shape", ["straight", "curved"])
def test_the_written_law_is_the_law_as_far_as_it_says(shape: str, request: pytest.FixtureRequest) -> None:
    law = request.getfixturevalue(shape)
    written = formula(law)
    apart = np.abs(evaluated(law, written) - law.band(law.points)[0]).max()
    assert math.exp(apart) == pytest.approx(written.off, abs=0.02)
    assert 1 <= written.off < 1.06


def test_a_bend_that_the_runs_show_is_written_and_makes_the_power_law_an_approximation(
    straight: Law, curved: Law
) -> None:
    assert not formula(straight).bent
    bent = formula(curved)
    assert bent.bent
    assert (formula(straight).sign, bent.sign) == ("=", "≈")
    assert "(ln(D/D₀))²" in bent.logarithm


def test_the_written_bend_at_the_critical_batch_is_that_of_the_law() -> None:
    cells = grid((1e8, 4e8), (1e9, 1e10, 1e11), [2.0**k for k in range(14, 23)])
    points = point_array(cells)
    reference = Reference.amid(points)
    terms = [feature.name for feature in FEATURES]
    columns = matrix(reference.coordinates(points), reference)
    optimum = -5 + columns[:, [terms.index("ln N"), terms.index("s")]] @ [-0.4, 1.0]
    rates = np.exp(optimum[:, None] + 0.4 * np.arange(-4, 5))
    loss = 3 * np.exp(0.02 * np.log(rates / np.exp(optimum[:, None])) ** 2)
    n, d, b = np.repeat(points, rates.shape[1], axis=0).T
    runs = Observations(params=n, tokens=d, batch_tokens=b, learning_rate=rates.ravel(), loss=loss.ravel())
    law = fit(runs, options=FAST)

    written = formula(law)

    assert "s = " in written.where
    apart = np.abs(evaluated(law, written) - law.band(law.points)[0]).max()
    assert math.exp(apart) == pytest.approx(written.off, abs=0.01)


def test_a_law_that_is_off_its_formula_in_some_cell_is_not_said_to_equal_it(straight: Law) -> None:
    assert replace(formula(straight), off=1.019).sign == "="
    assert replace(formula(straight), off=1.069).sign == "≈"


def test_the_power_law_counts_from_the_reference_that_is_named(straight: Law) -> None:
    written = formula(straight)
    assert written.reference.replace("\u00a0", " ") == (
        "N₀ = 4 M parameters, D₀ = 400 M tokens, B₀ = 131.1 k tokens a batch"
    )
    assert written.power_law.replace("\u00a0", " ").startswith("8e-3 · (N / 4 M)^−0.4")
    assert [base.split(" ")[0] for base, _ in written.powers] == ["N", "D", "B"]


def test_every_coefficient_is_kept(curved: Law) -> None:
    written = formula(curved)
    assert written.terms == curved.coefficients
    assert written.from_prior == sum(term.from_prior for term in curved.coefficients)
