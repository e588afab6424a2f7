"""``etalon rules``: how a sweep's parametrization scales initial values, rates and decay from its base to another scale."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from pydantic import ValidationError
from rich.table import Table

from etalon.arguments import amount
from etalon.cli.options import AsJson, assignments
from etalon.cli.outcome import out, print_json, reports_errors
from etalon.cli.sweeps import SpecFile
from etalon.spec_files import naming_lines, read_spec_file
from orchestrator.amounts import count, rate
from orchestrator.documents.rule_tables import RuleColumn, RuleTable
from orchestrator.errors import BadInput
from orchestrator.spec import (
    Base,
    Dense,
    Mup,
    ProxyTrainer,
    Scale,
    SweepSpec,
    TrainedScale,
    base_of,
    field_problems,
    parse_spec,
)
from orchestrator.spec.proxy_scale import params_of

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
            help=f"Show a model outside the grid, by {', '.join(TARGET_FIELDS)}; defaults: the sweep's target and its "
            "largest scale.",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            metavar="RATE", help="Learning rate at the base, to show the rates besides their factors."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show initial values and learning rates of each kind of parameter, at the base and at another scale."""
    if learning_rate is not None and not 0 < learning_rate <= LARGEST_RATE:
        raise BadInput(
            f"--learning-rate {learning_rate:g}: give a rate above 0 and at most {LARGEST_RATE:g}."
        )
    if scale is not None and target is not None:
        raise BadInput("--scale and --target: give one of them.")
    with naming_lines(file):
        spec = parse_spec(read_spec_file(file))
    trainer, _ = spec.proxies
    there = _given(spec, trainer, target) if target is not None else _of_grid(spec, trainer, scale)
    from workers.rule_table import rule_table  # PyTorch takes seconds to load

    found = rule_table(trainer, _base(spec, trainer), there, learning_rate=learning_rate)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _show(found)


def _base(spec: SweepSpec, trainer: ProxyTrainer) -> Base:
    """The base; of the standard parametrization, which needs none, the grid's smallest scale."""
    own = trainer.parametrization
    return base_of(spec.grid, trainer.architecture, own if isinstance(own, Mup) else Mup())


def _of_grid(spec: SweepSpec, trainer: ProxyTrainer, index: int | None) -> TrainedScale:
    """A scale of the grid at its largest batch and longest horizon.

    Raises:
        BadInput: there is no scale of this number.
    """
    scales, grid = spec.grid.scales, spec.grid
    if index is not None and not 0 <= index < len(scales):
        raise BadInput(f"--scale {index}: the grid has grid.scales.0 to grid.scales.{len(scales) - 1}.")
    scale = (
        max(scales, key=lambda each: params_of(each, trainer.architecture).active)
        if index is None
        else scales[index]
    )
    batch_tokens = max(grid.batch_tokens)
    tokens = max(1, max(grid.tokens) // batch_tokens) * batch_tokens
    return TrainedScale(scale=scale, batch_tokens=batch_tokens, tokens=tokens)


def _given(spec: SweepSpec, trainer: ProxyTrainer, text: str) -> TrainedScale:
    """Read ``width=…,depth=…,tokens=…``.

    Raises:
        BadInput: an unknown field, no amount, or a size that no model has.
    """
    given = assignments(text.split(","), "--target")
    if unknown := [name for name in given if name not in TARGET_FIELDS]:
        raise BadInput(f"--target has no field {unknown[0]!r}; it takes {', '.join(TARGET_FIELDS)}.")
    values = {name: int(amount(f"--target, {name}", value)) for name, value in given.items()}
    of_grid, wanted = _of_grid(spec, trainer, None), spec.target
    largest = of_grid.scale
    sizes: dict[str, int | None] = {name: value for name, value in values.items() if name in SIZE_FIELDS}
    if "width" not in sizes:
        sizes = {"heads": largest.heads, "expert_width": largest.expert_width} | sizes
    try:
        scale = Scale.model_validate(
            {"width": largest.width, "depth": largest.depth, "experts": largest.experts} | sizes
        )
    except ValidationError as error:
        problems = "; ".join(
            f"--target, {problem.path}: {problem.message}" for problem in field_problems(error)
        )
        raise BadInput(f"{problems}.") from error
    if isinstance(trainer.architecture, Dense) and (scale.experts or scale.expert_width):
        raise BadInput(
            "--target, experts: belong to a mixture of experts; the trainer.architecture is dense."
        )
    batch = wanted.batch_tokens if wanted is not None and wanted.batch_tokens else of_grid.batch_tokens
    tokens = of_grid.tokens if wanted is None else wanted.tokens
    return TrainedScale(
        scale=scale,
        batch_tokens=values.get("batch_tokens", int(batch)),
        tokens=values.get("tokens", int(tokens)),
    )


def _show(found: RuleTable) -> None:
    rules = ", ".join(rule.replace("_", " ") for rule in found.rules)
    base, target = found.base, found.target
    if found.parametrization == "standard":
        out.print("parametrization standard: one rate, decay and ε for all parameters, so every factor is 1")
    else:
        out.print(
            f"parametrization mup, rules for width{rules and ', '}{rules}; the learning rate is the base's"
        )
    out.print(f"base    {_column_text(base)}")
    out.print(f"target  {_column_text(target)}")
    out.print(f"target over base: {_ratios_text(found)}")
    if base.attention_scale != target.attention_scale:
        out.print(f"attention logits × {target.attention_scale:.3g}, {base.attention_scale:.3g} at the base")
    if (base.beta1, base.beta2) != (target.beta1, target.beta2):
        out.print(f"β {target.beta1:.4g}, {target.beta2:.4g}; {base.beta1:.4g}, {base.beta2:.4g} at the base")
    out.print()
    sources = list(dict.fromkeys(row.source for row in found.parameters))
    out.print(_table(found, sources))
    out.print()
    for number, source in enumerate(sources, start=1):
        out.print(f"[{number}] {source}", markup=False)
    for rule, source in found.rule_sources.items():
        out.print(f"{rule.replace('_', ' ')}: {source}", markup=False)


def _column_text(column: RuleColumn) -> str:
    experts = "" if column.expert_width is None else f", experts {column.expert_width} wide"
    return (
        f"width {column.width}, depth {column.depth}, heads {column.heads}{experts}, "
        f"batch of {count(column.batch_tokens)} tokens, {count(column.tokens)} tokens"
    )


def _ratios_text(found: RuleTable) -> str:
    """``m_w 4, m_L 2 (not scaled), …``: each ratio, and whether a rule asks for it."""
    ratios = []
    for name, (symbol, rule) in RATIOS.items():
        ratio = found.ratios.get(name)
        if ratio is None:
            continue
        scaled = found.parametrization == "mup" and (rule is None or rule in found.rules)
        ratios.append(f"{symbol} {ratio:.4g}{'' if scaled or ratio == 1 else ' (not scaled)'}")
    return ", ".join(ratios)


def _table(found: RuleTable, sources: list[str]) -> Table:
    with_rates = found.learning_rate is not None
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
    for row in found.parameters:
        target = row.target
        shown.add_row(
            row.kind.replace("_", " "),
            f"{row.base.initial_std:.3g} → {target.initial_std:.3g}",
            f"×{target.learning_rate_factor:.3g}",
            *([rate(target.learning_rate)] if target.learning_rate is not None else []),
            f"×{target.weight_decay_factor:.3g}",
            f"×{target.epsilon_factor:.3g}",
            f"×{target.forward_multiplier:.3g}",
            f"[{sources.index(row.source) + 1}]".replace("[", r"\["),
        )
    return shown
