"""Which count of parameters is N: total or active ones, judged by what a law in them would have lost."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.errors import BadInput
from orchestrator.law import fit
from orchestrator.runtable import RunTable, parse_csv
from orchestrator.sizes import other_sizes, size_warnings

EXPERTS = (1.0, 8.0, 2.0, 16.0)
ACTIVE = (1e6, 2e6, 4e6, 8e6)


def mixture(optimum_follows: str) -> RunTable:
    """Bowls whose optimum is a power of the total or of the active parameters, which do not grow together."""
    rows = ["params,params_total,tokens,batch_tokens,learning_rate,loss"]
    rng = np.random.default_rng(0)
    for active, experts in zip(ACTIVE, EXPERTS, strict=True):
        total = active * experts
        size = {"active": active, "total": total}[optimum_follows]
        for tokens in (1e8, 2e8, 4e8):
            optimum = np.log(8e-3) - 0.4 * np.log(size / 4e6) - 0.2 * np.log(tokens / 2e8)
            for step in range(-3, 4):
                x = np.log(8e-3) + 0.4 * step + rng.uniform(-0.1, 0.1)
                loss = (2 + 8 * active**-0.2) * (1 + 0.02 * (x - optimum) ** 2)
                rows.append(f"{active},{total},{tokens},65536,{np.exp(x)},{loss}")
    return parse_csv("\n".join(rows).encode())


@pytest.mark.parametrize(
    ("follows", "used", "better"),
    [("total", "params", True), ("total", "params_total", False), ("active", "params", False)],
)
def test_the_count_that_the_optimum_follows_predicts_better(follows: str, used: str, better: bool) -> None:
    table = mixture(follows)
    law = fit(table.sized(used).observations())
    (other,) = other_sizes(table, used)
    assert other.mean is not None
    assert bool(size_warnings(law, used, (other,))) is better


def test_counts_that_are_proportional_are_one() -> None:
    rows = "\n".join(f"1e6,4e6,{d}e8,65536,{r}e-3,3.{r}" for d in (1, 2) for r in (1, 2, 4))
    table = parse_csv(f"params,params_total,tokens,batch_tokens,learning_rate,loss\n{rows}".encode())
    assert table.sizes == ("params", "params_total")
    assert other_sizes(table, "params") == ()


def test_a_count_that_the_table_lacks_or_leaves_blank_is_refused_with_what_there_is() -> None:
    table = parse_csv(
        b"params,params_total,tokens,batch_tokens,learning_rate,loss\n1e6,,1e8,65536,1e-3,3.1\n1e6,4e6,1e8,65536,2e-3,3"
    )
    assert table.sizes == ("params",)
    with pytest.raises(BadInput, match="row 2, column params_total: must be a positive number"):
        table.sized("params_total")
    with pytest.raises(BadInput, match="N cannot be 'width'; in this table it can be: params"):
        table.sized("width")
