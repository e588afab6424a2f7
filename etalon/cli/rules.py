"""``etalon rules``: how a sweep's parametrization carries a learning rate from its base to another scale, kind by kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError
from rich.table import Table

from etalon.cli.options import AsJson, amount, assignments
from etalon.cli.outcome import out, print_json, reports_errors
from etalon.cli.sweeps import SpecFile, read_fields
from orchestrator.amounts import count, rate
from orchestrator.errors import BadInput, FieldProblem
from orchestrator.spec import (
    Base,
    Dense,
    Mup,
    ProxyTrainer,
    Scale,
    SweepSpec,
    base_of,
    field_problems,
    parse_spec,
)

SIZE_FIELDS: Final = ("width", "depth", "heads", "experts", "expert_width")
TARGET_FIELDS: Final = (*SIZE_FIELDS, "tokens", "batch_tokens")
LARGEST_RATE: Final = 1e3

RATIOS: Final = {
    "width": ("m_w", None),
    "expert_width": ("m_h", None),
    "depth": ("m_L", "depth"),
    "batch_tokens": ("m_B", "batch"),
    "tokens": ("m_D", "horizon"),
}
"""Symbol of each ratio of target to base, and the rule without which it scales nothing."""


Place = tuple[Scale, int, int]
"""A model and how it is trained: its size, tokens per optimizer step, and horizon."""


@reports_errors
def rules_command(
    file: SpecFile,
    scale: Annotated[
        int | None,
        typer.Option(metavar="I", help="Show grid.scales.I; by default the largest.", show_default=False),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="width=…,depth=…",
            help=f"Show a model outside the grid: {', '.join(TARGET_FIELDS)}; what is left out comes from the "
            "sweep's target and its largest scale.",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(metavar="RATE", help="Show the rates themselves, of this one at the base.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each kind of parameter starts from and how fast it moves: at the base, and at another scale."""
    if learning_rate is not None and not 0 < learning_rate <= LARGEST_RATE:
        raise BadInput(
            f"--learning-rate {learning_rate:g}: give a rate above 0 and at most {LARGEST_RATE:g}."
        )
    if scale is not None and target is not None:
        raise BadInput("--scale and --target: give one of them.")
    spec, trainer = _proxies(parse_spec(read_fields(file)))
    there = _place(spec, trainer, target) if target is not None else _of_grid(spec, trainer, scale)
    from workers.rules import document  # PyTorch takes seconds to load

    found = document(trainer, _base(spec, trainer), *there, learning_rate=learning_rate)
    if as_json:
        print_json(found)
    else:
        _show(found)


def _proxies(spec: SweepSpec) -> tuple[SweepSpec, ProxyTrainer]:
    if isinstance(spec.trainer, ProxyTrainer):
        return spec, spec.trainer
    kind = None if spec.trainer is None else spec.trainer.kind
    told = (
        "is missing"
        if kind is None
        else f"is {kind}; Etalon knows how its own proxies start and move, not how others do"
    )
    problem = FieldProblem(path="trainer.kind", message=f"{told}, so take proxy")
    raise BadInput(f"{problem.path}: {problem.message}.", fields=(problem,))


def _base(spec: SweepSpec, trainer: ProxyTrainer) -> Base:
    """The base; of the standard parametrization, which needs none, the grid's smallest scale."""
    mup = trainer if isinstance(trainer.parametrization, Mup) else _as_mup(trainer)
    base = base_of(spec.grid, mup)
    if base is None:
        raise TypeError("base_of gave no base for mup")
    return base


def _as_mup(trainer: ProxyTrainer) -> ProxyTrainer:
    return trainer.model_copy(update={"parametrization": Mup()})


def _of_grid(spec: SweepSpec, trainer: ProxyTrainer, index: int | None) -> Place:
    """A scale of the grid at its largest batch and longest horizon.

    Raises:
        BadInput: there is no scale of this number.
    """
    from orchestrator.submission.cells import params_of  # loads SciPy

    scales, grid = spec.grid.scales, spec.grid
    if index is not None and not 0 <= index < len(scales):
        raise BadInput(f"--scale {index}: the grid has grid.scales.0 to grid.scales.{len(scales) - 1}.")
    scale = (
        max(scales, key=lambda each: params_of(each, trainer.architecture).active)
        if index is None
        else scales[index]
    )
    batch_tokens = max(grid.batch_tokens)
    return scale, batch_tokens, max(1, max(grid.tokens) // batch_tokens) * batch_tokens


def _place(spec: SweepSpec, trainer: ProxyTrainer, text: str) -> Place:
    """Read ``width=…,depth=…,tokens=…``.

    Raises:
        BadInput: an unknown field, no amount, or a size that no model has.
    """
    given = assignments(text.split(","), "--target")
    if unknown := [name for name in given if name not in TARGET_FIELDS]:
        raise BadInput(f"--target has no field {unknown[0]!r}; it takes {', '.join(TARGET_FIELDS)}.")
    values = {name: int(amount(f"--target, {name}", value)) for name, value in given.items()}
    (largest, largest_batch, longest), wanted = _of_grid(spec, trainer, None), spec.target
    sizes: dict[str, int | None] = {name: value for name, value in values.items() if name in SIZE_FIELDS}
    if "width" not in sizes:
        sizes = {"heads": largest.heads, "expert_width": largest.expert_width} | sizes
    try:
        scale = Scale.model_validate(
            {"width": largest.width, "depth": largest.depth, "experts": largest.experts} | sizes
        )
    except ValidationError as error:
        told = "; ".join(f"--target, {problem.path}: {problem.message}" for problem in field_problems(error))
        raise BadInput(f"{told}.") from error
    if isinstance(trainer.architecture, Dense) and (scale.experts or scale.expert_width):
        raise BadInput(
            "--target, experts: belong to a mixture of experts; the trainer.architecture is dense."
        )
    batch = wanted.batch_tokens if wanted is not None and wanted.batch_tokens else largest_batch
    tokens = longest if wanted is None else wanted.tokens
    return scale, values.get("batch_tokens", int(batch)), values.get("tokens", int(tokens))


def _show(found: Mapping[str, Any]) -> None:
    rules = ", ".join(rule.replace("_", " ") for rule in found["rules"])
    base, target = found["base"], found["target"]
    if found["parametrization"] == "standard":
        out.print("parametrization standard: one rate, decay and ε for all parameters, so every factor is 1")
    else:
        out.print(
            f"parametrization mup, rules for width{rules and ', '}{rules}; the learning rate is the base's"
        )
    out.print(f"base    {_place_text(base)}")
    out.print(f"target  {_place_text(target)}")
    out.print(f"target over base: {_ratios_text(found)}")
    if base["attention_scale"] != target["attention_scale"]:
        out.print(
            f"attention logits × {target['attention_scale']:.3g}, {base['attention_scale']:.3g} at the base"
        )
    if (base["beta1"], base["beta2"]) != (target["beta1"], target["beta2"]):
        out.print(
            f"β {target['beta1']:.4g}, {target['beta2']:.4g}; {base['beta1']:.4g}, {base['beta2']:.4g} at the base"
        )
    out.print()
    sources = list(dict.fromkeys(row["source"] for row in found["parameters"]))
    out.print(_table(found, sources))
    out.print()
    for number, source in enumerate(sources, start=1):
        out.print(f"[{number}] {source}", markup=False)
    for rule, source in found["rule_sources"].items():
        out.print(f"{rule.replace('_', ' ')}: {source}", markup=False)


def _place_text(place: Mapping[str, Any]) -> str:
    experts = "" if place["expert_width"] is None else f", experts {place['expert_width']} wide"
    return (
        f"width {place['width']}, depth {place['depth']}, heads {place['heads']}{experts}, "
        f"batch of {count(place['batch_tokens'])} tokens, {count(place['tokens'])} tokens"
    )


def _ratios_text(found: Mapping[str, Any]) -> str:
    """``m_w 4, m_L 2 (not scaled), …``: each ratio, and whether a rule asks for it."""
    told = []
    for name, (symbol, rule) in RATIOS.items():
        ratio = found["ratios"].get(name)
        if ratio is None:
            continue
        scaled = found["parametrization"] == "mup" and (rule is None or rule in found["rules"])
        told.append(f"{symbol} {ratio:.4g}{'' if scaled or ratio == 1 else ' (not scaled)'}")
    return ", ".join(told)


def _table(found: Mapping[str, Any], sources: list[str]) -> Table:
    with_rates = found["learning_rate"] is not None
    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    shown.add_column("kind", no_wrap=True)
    for title in (
        "initial std",
        "rate",
        *(["rate at target"] if with_rates else []),
        "decay",
        "ε",
        "forward",
        "",
    ):
        shown.add_column(title, justify="right", no_wrap=title != "rate at target")
    for row in found["parameters"]:
        target = row["target"]
        shown.add_row(
            row["kind"].replace("_", " "),
            f"{row['base']['initial_std']:.3g} → {target['initial_std']:.3g}",
            f"×{target['learning_rate_factor']:.3g}",
            *([rate(target["learning_rate"])] if with_rates else []),
            f"×{target['weight_decay_factor']:.3g}",
            f"×{target['epsilon_factor']:.3g}",
            f"×{target['forward_multiplier']:.3g}",
            f"[{sources.index(row['source']) + 1}]".replace("[", r"\["),
        )
    return shown
