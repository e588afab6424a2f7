"""One learning rate for all widths: bowls of four widths under the standard parametrization and under mup.

    python examples/mup.py              about two minutes on two idle cores

Trains every rate of one lattice at every width under both, fits each width's bowl with Etalon's law, prints the range
of the best rate over width, and draws `mup.html`, and `mup.png` if Plotly's kaleido finds a browser.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from api.figures import page
from api.figures.style import RATES, axis, axis_number, canvas, log_axis, panel_grid, params_colours
from orchestrator.amounts import rate
from orchestrator.law import Bowl, BowlStatus, Observations, fit
from trainer import (
    BaseScale,
    FinishedEvent,
    Member,
    Parametrization,
    Recipe,
    Schedule,
    Shape,
    Training,
    TrainingJob,
    load_corpus,
    stack_limit,
)

KINDS = ("standard", "mup")
WIDTHS, DEPTH = (16, 32, 64, 128), 2
BASE_WIDTH = 32
"""The width at which mup equals the standard parametrization; its rates are those of this width."""

BATCH_TOKENS, WARMUP_TOKENS, TOKENS = 128, 8_192, 65_536
LATTICE = tuple(float(f"{6e-4 * 1.6**step:.3g}") for step in range(10))
PROCESSES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlan:
    """Rates of one width to train as one stack.

    Attributes:
        kind: `standard` or `mup`.
        width: Width of the proxy.
        rates: Peak learning rates.
        tokens: Horizon.
    """

    kind: str
    width: int
    rates: tuple[float, ...]
    tokens: int

    @property
    def params(self) -> int:
        """Parameters without embedding and head."""
        return 12 * DEPTH * self.width**2

    @property
    def cost(self) -> float:
        """FLOPs, with those of the head."""
        return 6.0 * (self.params + 256 * self.width) * self.tokens * len(self.rates)


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthResult:
    """The runs of one width under one parametrization.

    Attributes:
        width: Width of the proxies.
        rates, losses: One of each per run; the loss of a diverged run is NaN.
        bowl: The bowl fitted to them.
    """

    width: int
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    bowl: Bowl


def train(stack: StackPlan) -> dict[float, float]:
    """Train a stack in its own process; returns the held-out loss by rate, NaN if it diverged."""
    torch.set_num_threads(1)
    mup = Parametrization(base=BaseScale(width=BASE_WIDTH, depth=DEPTH), rules=frozenset({"weight_decay"}))
    recipe = Recipe(
        shape=Shape(width=stack.width, depth=DEPTH),
        schedule=Schedule(warmup_tokens=WARMUP_TOKENS),
        batch_tokens=BATCH_TOKENS,
        parametrization=mup if stack.kind == "mup" else Parametrization(),
    )
    members = tuple(Member(learning_rate=each, horizons=(stack.tokens,)) for each in stack.rates)
    losses = dict.fromkeys(stack.rates, math.nan)
    for event in Training(TrainingJob(recipe=recipe, members=members), load_corpus("stdlib")).advance():
        if isinstance(event, FinishedEvent):
            losses[stack.rates[event.member]] = event.loss
    return losses


def stacks(tokens: int) -> Iterator[StackPlan]:
    """All widths under both parametrizations in stacks that fit in a core's cache, the most expensive first."""
    for width in sorted(WIDTHS, reverse=True):
        most = stack_limit(Shape(width=width, depth=DEPTH), BATCH_TOKENS)
        for kind in KINDS:
            for first in range(0, len(LATTICE), most):
                yield StackPlan(kind=kind, width=width, rates=LATTICE[first : first + most], tokens=tokens)


def train_all(asked: Sequence[StackPlan], console: Console) -> dict[tuple[str, int], dict[float, float]]:
    """Train all stacks with a progress bar; returns their losses by parametrization and width."""
    found: dict[tuple[str, int], dict[float, float]] = {}
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    with (
        ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool,
        Progress(*columns, console=console) as progress,
    ):
        bar = progress.add_task("Training", total=sum(stack.cost for stack in asked))
        pending = {pool.submit(train, stack): stack for stack in asked}
        for done in as_completed(pending):
            stack = pending[done]
            found.setdefault((stack.kind, stack.width), {}).update(done.result())
            progress.update(bar, advance=stack.cost, description=f"{stack.kind}, width {stack.width}")
    return found


def fit_bowls(
    losses: dict[tuple[str, int], dict[float, float]], tokens: int
) -> dict[str, tuple[WidthResult, ...]]:
    """Fit the bowl of every width, with one law for each parametrization."""
    found = {}
    for kind in KINDS:
        rows = [
            (12.0 * DEPTH * width**2, tokens, BATCH_TOKENS, each, loss)
            for width in WIDTHS
            for each, loss in sorted(losses[kind, width].items())
        ]
        params, horizons, batches, rates, values = np.array(rows, dtype=float).T
        law = fit(
            Observations(
                params=params, tokens=horizons, batch_tokens=batches, learning_rate=rates, loss=values
            )
        )
        bowls = {round(bowl.params): bowl for bowl in law.bowls}
        found[kind] = tuple(
            WidthResult(
                width=width,
                rates=tuple(sorted(losses[kind, width])),
                losses=tuple(losses[kind, width][each] for each in sorted(losses[kind, width])),
                bowl=bowls[12 * DEPTH * width**2],
            )
            for width in WIDTHS
        )
    return found


def spread(widths: Sequence[WidthResult]) -> float:
    """Range of ln η* over width."""
    optima = [math.log(width.bowl.learning_rate) for width in widths]
    return max(optima) - min(optima)


def table(found: dict[str, tuple[WidthResult, ...]]) -> Table:
    """The optimum of every width, and its range."""
    shown = Table("width", "params", *(f"η*, {kind}" for kind in KINDS), box=None, pad_edge=False)
    for each in zip(*(found[kind] for kind in KINDS), strict=True):
        optima = [
            f"{rate(width.bowl.learning_rate)} ({rate(width.bowl.low)} … {rate(width.bowl.high)})"
            if width.bowl.status is BowlStatus.INTERIOR
            else f"{rate(width.bowl.learning_rate)}, {width.bowl.status.value}"
            for width in each
        ]
        shown.add_row(str(each[0].width), f"{each[0].bowl.params:,.0f}", *optima)
    spreads = [spread(found[kind]) for kind in KINDS]
    shown.add_row("range of ln η*", "", *(f"{each:.2f} (×{math.exp(each):.3g})" for each in spreads))
    return shown


def draw(found: dict[str, tuple[WidthResult, ...]]) -> go.Figure:
    """Both parametrizations side by side, with a bowl for each width and a star at its optimum."""
    picture = canvas(400, width=980, grid=panel_grid(2, 2, head=0.08))
    losses = [loss for widths in found.values() for width in widths for loss in width.losses]
    lowest = min(loss for loss in losses if math.isfinite(loss))
    for column, (kind, widths) in enumerate(found.items()):
        suffix = axis_number(column)
        units = "" if kind == "standard" else f" at width {BASE_WIDTH}"
        picture.layout[f"xaxis{suffix}"] = log_axis(
            LATTICE[0], LATTICE[-1], f"learning rate{units}", ticks=RATES
        )
        picture.layout[f"yaxis{suffix}"] = axis(
            "" if suffix else "held-out loss, nats per byte",
            range=[lowest - 0.05, lowest + 0.8],
        )
        picture.add_annotation(
            text=f"<b>{kind}</b>: η* varies by ×{math.exp(spread(widths)):.3g} over {WIDTHS[-1] // WIDTHS[0]}× in width",
            x=0.5,
            xanchor="center",
            xref=f"x{suffix} domain",
            y=1.0,
            yanchor="bottom",
            yref=f"y{suffix} domain",
            yshift=8,
            showarrow=False,
            font={"size": 14},
        )
        for width in widths:
            picture.add_traces(bowl(width, suffix))
    return picture


def bowl(width: WidthResult, suffix: str) -> list[go.Scatter]:
    """The runs of one width, and their optimum."""
    colour = params_colours([float(each) for each in WIDTHS])[float(width.width)]
    name = f"width {width.width}"
    shared = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}", "legendgroup": name}
    star = {"symbol": "star", "size": 15, "color": colour, "line": {"color": "white", "width": 1}}
    return [
        go.Scatter(
            x=width.rates,
            y=width.losses,
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            marker={"size": 6},
            name=name,
            showlegend=not suffix,
            **shared,
        ),
        go.Scatter(
            x=[width.bowl.learning_rate],
            y=[width.bowl.loss],
            mode="markers",
            marker=star,
            hovertemplate=f"η* %{{x:.2e}}, {name}<extra></extra>",
            showlegend=False,
            **shared,
        ),
    ]


def main() -> None:
    """Train, fit, print, draw."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--tokens", type=int, default=TOKENS, help="horizon of every run (%(default)s)")
    options.add_argument("--out", type=Path, default=Path("mup.html"), help="the picture (%(default)s)")
    asked = options.parse_args()
    console = Console()
    found = fit_bowls(train_all(list(stacks(asked.tokens)), console), asked.tokens)
    console.print(table(found))
    picture = draw(found)
    asked.out.write_text(page("One rate for all widths", picture.to_dict()), encoding="utf-8")
    console.print(f"Picture: {asked.out}")
    try:
        picture.update_layout(paper_bgcolor="white").write_image(asked.out.with_suffix(".png"), scale=2)
        console.print(f"Picture: {asked.out.with_suffix('.png')}")
    except (ImportError, ValueError, RuntimeError, OSError) as error:
        console.print(f"No PNG: {str(error).splitlines()[0]}", style="dim")


if __name__ == "__main__":
    main()
