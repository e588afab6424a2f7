"""The count of parameters that is N: total or active ones, compared by the held-out error of their laws."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from orchestrator.answers.param_counts import both_counts, other_sizes, size_notices
from orchestrator.errors import BadInput
from orchestrator.law import Observations, fit
from orchestrator.tables.formats import read_table
from orchestrator.tables.run_table import RunTable

EXPERTS = (1.0, 8.0, 2.0, 16.0, 4.0, 32.0)
ACTIVE = (1e6, 2e6, 4e6, 8e6, 16e6, 32e6)
HORIZONS = (1e8, 2e8, 4e8, 8e8)
BATCHES = (65_536, 131_072)


def models(totals: Sequence[float], sizes: Sequence[float]) -> RunTable:
    """Bowls of models with these total parameters, whose optimum is a power of these sizes."""
    rows = ["params,params_total,tokens,batch_tokens,learning_rate,loss"]
    rng = np.random.default_rng(0)
    places = product(zip(ACTIVE, totals, sizes, strict=True), HORIZONS, BATCHES)
    for (active, total, size), tokens, batch in places:
        optimum = np.log(8e-3) - 0.4 * np.log(size / 4e6) - 0.2 * np.log(tokens / 2e8)
        for step in range(-4, 5):
            x = optimum + 0.4 * step + rng.uniform(-0.3, 0.3)
            level = (2 + 8 * active**-0.2) * np.exp(3e-4 * rng.standard_normal())
            rows.append(
                f"{active},{total},{tokens},{batch},{np.exp(x)},{level * (1 + 0.02 * (x - optimum) ** 2)}"
            )
    return read_table("\n".join(rows).encode())


def mixture(optimum_follows: str) -> RunTable:
    """Total and active parameters do not grow together; the optimum is a power of one of them."""
    totals = [active * experts for active, experts in zip(ACTIVE, EXPERTS, strict=True)]
    return models(totals, totals if optimum_follows == "total" else ACTIVE)


@pytest.mark.parametrize(
    ("follows", "used", "better"),
    [("total", "params", True), ("total", "params_total", False), ("active", "params", False)],
)
def test_the_count_that_the_optimum_follows_predicts_better(follows: str, used: str, better: bool) -> None:
    table = mixture(follows)
    law = fit(table.sized(used).observations())
    (other,) = other_sizes(table, law, used)
    assert other.paired is not None
    assert other.paired.cells == len(HORIZONS) * len(BATCHES)
    assert bool(size_notices(used, (other,))) is better


@pytest.mark.parametrize("used", ["params", "params_total"])
def test_of_counts_that_differ_by_chance_neither_predicts_better(used: str) -> None:
    table = models([active * (1 + 0.02 * (-1) ** at) for at, active in enumerate(ACTIVE)], ACTIVE)
    (other,) = other_sizes(table, fit(table.sized(used).observations()), used)
    assert other.mean is not None
    assert size_notices(used, (other,)) == ()


def test_laws_judged_at_other_models_are_not_compared() -> None:
    """The largest by active parameters is not the largest by all."""
    totals = [active * experts for active, experts in zip(ACTIVE, reversed(EXPERTS), strict=True)]
    totals[0] = 10 * max(totals)
    table = models(totals, ACTIVE)
    (other,) = other_sizes(table, fit(table.observations()), "params")
    assert other.mean is not None
    assert other.paired is None
    assert size_notices("params", (other,)) == ()


def test_counts_that_are_proportional_are_one() -> None:
    table = models([4 * active for active in ACTIVE], ACTIVE)
    assert table.sizes == ("params", "params_total")
    assert other_sizes(table, fit(table.observations()), "params") == ()


def test_a_count_that_the_table_lacks_or_leaves_blank_is_refused_with_what_there_is() -> None:
    table = read_table(
        b"params,params_total,tokens,batch_tokens,learning_rate,loss\n1e6,,1e8,65536,1e-3,3.1\n1e6,4e6,1e8,65536,2e-3,3"
    )
    assert table.sizes == ("params",)
    with pytest.raises(BadInput, match="row 2, column params_total: must be a positive number"):
        table.sized("params_total")
    with pytest.raises(BadInput, match="N cannot be 'width'; in this table it can be: params"):
        table.sized("width")


def counts_of(table: RunTable) -> dict[str, Observations]:
    """The runs as a sweep of mixtures knows them: by both counts."""
    active, total = table.observations(), table.sized("params_total").observations()
    return {"params_active": active, "params_total": total}


@pytest.mark.parametrize("follows", ["active", "total"])
def test_a_sweep_reports_the_law_in_both_counts(follows: str) -> None:
    counts = counts_of(mixture(follows))
    law = fit(counts["params_active"])
    _, document = both_counts(counts, law, "params_active")

    assert (document.used, document.proportional) == ("params_active", False)
    assert [item.size for item in document.laws] == ["params_active", "params_total"]
    followed = next(item for item in document.laws if item.size == f"params_{follows}")
    for name, exponent in (("params", -0.4), ("tokens", -0.2)):
        assert getattr(followed, name).value == pytest.approx(exponent, abs=3 * getattr(followed, name).sd)
        assert not getattr(followed, name).from_prior
    assert followed.mean_excess_loss < 0.0005
    assert document.paired.cells == len(HORIZONS) * len(BATCHES)


@pytest.mark.parametrize(("used", "gains"), [("params_active", True), ("params_total", False)])
def test_the_count_that_predicts_better_is_named_whichever_is_used(used: str, gains: bool) -> None:
    counts = counts_of(mixture("total"))
    law = fit(counts[used])
    kept, document = both_counts(counts, law, used)

    assert document.better == "params_total"
    assert document.summary.startswith("A law in params_total predicts better: it loses ")
    assert (document.paired.gain > 0) is gains
    assert len(kept.warnings) - len(law.warnings) == gains


def test_counts_that_are_nearly_proportional_give_one_law() -> None:
    counts = counts_of(
        models([4 * active * (1 + 0.004 * (-1) ** at) for at, active in enumerate(ACTIVE)], ACTIVE)
    )
    law = fit(counts["params_active"])
    kept, document = both_counts(counts, law, "params_active")

    assert kept is law
    assert (document.proportional, document.better, document.paired) == (True, None, None)
    assert [item.size for item in document.laws] == ["params_active"]
    assert "params_total is 4 times params_active, to within 0.8" in document.summary


def test_of_few_cells_held_out_neither_count_is_called_better() -> None:
    table = mixture("total")
    few = table.where({"batch_tokens": "65536"})
    counts = counts_of(few)
    _, document = both_counts(counts, fit(counts["params_active"]), "params_active")

    assert document.paired.cells == len(HORIZONS)
    assert document.better is None
    assert "too few cells to compare" in document.summary
