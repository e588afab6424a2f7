"""A coordinate check: the size of the residual stream after a few updates against width, for standard and mup.

    python examples/coordinates.py      seconds

Prints the slope of the size against width in logarithms (0 is constant) and draws `coordinates.html`, and
`coordinates.png` if Plotly's kaleido finds a browser. tests/trainer/test_coordinates.py checks all activations.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch

from api.figures import page
from api.figures.style import STATE_COLOURS, axis, axis_number, canvas, panel_grid
from orchestrator.states import RunState
from trainer import BaseScale, Experts, Parametrization, Recipe, Schedule, Shape, load_corpus
from trainer.optimizer import MemberRates, StackOptimizer
from trainer.proxy_model import HookPoint, ProxyModel
from trainer.stack import Stack

WIDTHS, BASE_WIDTH, DEPTH = (16, 32, 64, 128, 256), 16, 2
UPDATES, LEARNING_RATE, BATCH_TOKENS, CONTEXT = 10, 1e-2, 256, 64
COLOURS = {"standard": STATE_COLOURS[RunState.DIVERGED], "mup": STATE_COLOURS[RunState.COMPLETED]}
ARCHITECTURES = ("dense", "mixture of experts")


def recipe(architecture: str, kind: str, width: int) -> Recipe:
    """A proxy of one width; the experts of a mixture are as wide as the model."""
    mixed = architecture != "dense"
    experts = Experts(count=4, top_k=2, width=width) if mixed else None
    base = BaseScale(width=BASE_WIDTH, depth=DEPTH, expert_width=2 * BASE_WIDTH if mixed else None)
    return Recipe(
        shape=Shape(width=width, depth=DEPTH, experts=experts, context=CONTEXT),
        schedule=Schedule(warmup_tokens=0),
        batch_tokens=BATCH_TOKENS,
        parametrization=Parametrization(base=base) if kind == "mup" else Parametrization(),
    )


def stream(asked: Recipe) -> float:
    """Root mean square of the residual stream after the last block, after the updates."""
    model, corpus = ProxyModel(asked, torch.device("cpu")), load_corpus("stdlib")
    optimizer, stack = StackOptimizer(model), Stack.initial(model, 1)
    for step in range(UPDATES):
        tokens = torch.from_numpy(corpus.batch(0, step, BATCH_TOKENS // CONTEXT, CONTEXT))
        stack.train(
            model, optimizer, tokens[:, :-1], tokens[:, 1:], [MemberRates(learning_rate=LEARNING_RATE)]
        )
    added: list[torch.Tensor] = []

    def hook(point: HookPoint, _block: int, x: torch.Tensor) -> None:
        if point in {"embedding", "attention", "feedforward"}:
            added.append(x)

    with torch.no_grad():
        model.forward(stack.parameters, stack.balance, tokens[:, :-1], tokens[:, 1:], hook=hook)
    return float(torch.stack(added).sum(0).pow(2).mean().sqrt())


def main() -> None:
    """Train a few steps at every width, print, draw."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument(
        "--out", type=Path, default=Path("coordinates.html"), help="the picture (%(default)s)"
    )
    out: Path = options.parse_args().out
    torch.set_num_threads(1)
    picture = canvas(320, width=980, grid=panel_grid(2, 2))
    for column, architecture in enumerate(ARCHITECTURES):
        suffix = axis_number(column)
        picture.layout[f"xaxis{suffix}"] = axis(f"width, {architecture}", type="log", tickvals=WIDTHS)
        picture.layout[f"yaxis{suffix}"] = axis(
            "" if suffix else "RMS of the residual stream",
            type="log",
            dtick=1,
        )
        for kind, colour in COLOURS.items():
            sizes = [stream(recipe(architecture, kind, width)) for width in WIDTHS]
            slope = np.polyfit(np.log(WIDTHS), np.log(sizes), 1)[0]
            print(f"{architecture}, {kind}: {sizes[0]:.3g} → {sizes[-1]:.3g}, slope {slope:+.2f}")
            picture.add_scatter(
                x=WIDTHS,
                y=sizes,
                mode="lines+markers",
                name=kind,
                line={"color": colour},
                xaxis=f"x{suffix}",
                yaxis=f"y{suffix}",
                legendgroup=kind,
                showlegend=not suffix,
            )
    save(picture, out)


def save(picture: go.Figure, out: Path) -> None:
    """Save as a page, and as a PNG if possible."""
    out.write_text(page("Coordinate check", picture.to_dict()), encoding="utf-8")
    print(f"Picture: {out}")
    try:
        picture.update_layout(paper_bgcolor="white").write_image(out.with_suffix(".png"), scale=1.5)
        print(f"Picture: {out.with_suffix('.png')}")
    except (ImportError, ValueError, RuntimeError, OSError) as error:
        print(f"No PNG: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    main()
