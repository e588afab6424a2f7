"""Results in a terminal: cards, tables and sentences of the documents."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from textwrap import TextWrapper
from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Column, Table

from orchestrator.amounts import NONE, count, duration, flops, multipliers, percent, rate, times
from orchestrator.documents.comparisons import ComparisonDocument, ContenderDocument
from orchestrator.documents.laws import BowlDocument, CoefficientDocument, SizesDocument
from orchestrator.documents.predictions import (
    AffordableRuns,
    BatchAnswer,
    Confirmation,
    PredictionDocument,
    PublishedRate,
    TargetDocument,
    Valley,
    WrongRate,
)
from orchestrator.documents.previews import CellDocument, PreviewDocument
from orchestrator.documents.sweeps import Progress, SweepSummary
from orchestrator.states import RUN_OPEN, RunState

if TYPE_CHECKING:
    from orchestrator.answers.formula import Formula

ENDED: Final = frozenset({RunState.COMPLETED, RunState.DIVERGED, RunState.FAILED})
"""The states of runs that count as progress; a cancelled run does not."""


SHOWN_PLACES: Final = 5
"""Decimals of an excess loss in a table: 0.001 %."""

WIDE: Final = 100
"""Columns of a terminal from which a list of sweeps has room for all of its columns."""


def target_text(at: TargetDocument | AffordableRuns) -> str:
    """A target in words."""
    return (
        f"{count(at.params)} parameters, {count(at.tokens)} tokens, batch of {count(at.batch_tokens)} tokens"
    )


def prediction_panel(prediction: PredictionDocument, *, shown: Collection[str] = ()) -> Panel:
    """The card of a prediction: rate, interval, valley, cost of a wrong rate, warnings, published laws.

    Args:
        prediction: what it shows.
        shown: warnings that stand elsewhere already.
    """
    interval = prediction.interval
    lines = [
        f"[bold green]learning rate {rate(prediction.learning_rate)}[/]"
        f"   {interval.level:.0%} interval {rate(interval.low)} … {rate(interval.high)}",
        _valley_text(prediction.valley),
        *_wrong_rate_text(prediction.wrong_rate),
    ]
    if prediction.expected_loss is not None:
        lines.append(f"expected loss {prediction.expected_loss:.4g}{_loss_interval_text(prediction)}")
    if prediction.confirmation is not None:
        lines += _confirmation_text(prediction.confirmation)
    size = prediction.further_size
    if size is not None and size.params is not None:
        lines.append(escape(size.reason))
    far = ", ".join(f"{name} ×{ratio:.3g}" for name, ratio in prediction.extrapolation.items())
    lines.append(f"target over the largest seen: {far}")
    lines += [f"[yellow]! {escape(warning)}[/]" for warning in prediction.warnings if warning not in shown]
    parts: list[RenderableType] = ["\n".join(lines)]
    if prediction.batch is not None:
        parts += ["", batch_view(prediction.batch)]
    if prediction.published:
        parts += ["", published_table(prediction.published)]
    return Panel(Group(*parts), title=f"at {target_text(prediction.target)}", title_align="left")


def _loss_interval_text(prediction: PredictionDocument) -> str:
    interval = prediction.expected_loss_interval
    if interval is None:
        return ""
    return f"   {interval.level:.0%} interval {interval.low:.4g} … {interval.high:.4g}"


def batch_view(batch: BatchAnswer, *, most: int = 7) -> RenderableType:
    """The best batch, the largest ones that cost little, and the cost of those nearest to it; else why it is unknown."""
    if batch.best is None or batch.interval is None:
        return f"[yellow]best batch unknown:[/] {escape(batch.reason or 'no reason given')}"
    interval, best = batch.interval, batch.best
    within = ", ".join(
        f"{percent(item.excess_loss)} up to {count(item.batch_tokens)}"
        for item in batch.largest_within
        if item.batch_tokens is not None
    )
    heading = (
        f"[bold]best batch {count(best)} tokens[/]   {interval.level:.0%} interval {count(interval.low)} … "
        f"{count(interval.high)}" + (f"\nexpected to cost at most {within}" if within else "")
    )
    nearest = sorted(batch.choices, key=lambda choice: abs(math.log(choice.batch_tokens / best)))[:most]
    table = Table(
        Column("batch", no_wrap=True, justify="right"),
        Column("costs", no_wrap=True, justify="right"),
        Column("95 %", no_wrap=True),
        Column("its learning rate", no_wrap=True),
        box=None,
        padding=(0, 1, 0, 0),
    )
    for choice in sorted(nearest, key=lambda choice: choice.batch_tokens):
        table.add_row(
            count(choice.batch_tokens),
            percent(round(choice.excess_loss, SHOWN_PLACES)),
            f"{percent(round(choice.low, SHOWN_PLACES))} … {percent(round(choice.high, SHOWN_PLACES))}",
            rate(choice.learning_rate),
        )
    return Group(heading, table)


def refusal_panel(target: TargetDocument, detail: str) -> Panel:
    """The card of a target that the runs cannot support."""
    text = f"[bold red]No prediction:[/] {escape(detail)}"
    return Panel(text, title=f"at {target_text(target)}", title_align="left")


def _valley_text(valley: Valley) -> str:
    allowed = f"rates that lose at most {percent(valley.excess_loss)}"
    if valley.high > valley.low:
        return f"{allowed}, with {valley.probability:.0%} each: {rate(valley.low)} … {rate(valley.high)}"
    reason = valley.reason or "The optimum is too uncertain to name a range."
    return f"[yellow]{allowed}: none. {escape(reason)}[/]"


def _wrong_rate_text(wrong: Sequence[WrongRate]) -> list[str]:
    """One line: the expected cost of the predicted rate and of rates beside it; no line if the costs are unknown."""
    if not wrong:
        return []
    costs = {item.factor: percent(item.excess_loss) for item in wrong}
    beside = ", ".join(f"{times(factor)} costs {costs[factor]}" for factor in (0.5, 2.0))
    return [f"expected excess loss at this rate {costs[1.0]}; {beside}"]


def _confirmation_text(confirmation: Confirmation) -> list[str]:
    """The runs that would confirm the prediction at the target, and the affordable runs instead of them."""
    lines = []
    if confirmation.learning_rates:
        lines.append(
            f"confirm with {_expected_runs(confirmation)}: {rate(confirmation.learning_rates[0])} first, "
            f"{flops(confirmation.flops_per_run)} each"
        )
    elif confirmation.best is not None:
        lines.append(f"confirm: {escape(confirmation.reason)}")
    instead = confirmation.affordable
    if instead is not None:
        lines.append(
            f"or {len(instead.learning_rates)} runs at {target_text(instead)}, rates "
            f"{', '.join(map(rate, instead.learning_rates))}: {flops(instead.flops)}, interval ×/÷ "
            f"{instead.interval_factor_before:.3g} to {instead.interval_factor_after:.3g} expected"
        )
    return lines


def _expected_runs(confirmation: Confirmation) -> str:
    close, sure = (
        NONE if runs is None else f"{runs:.1f}"
        for runs in (confirmation.expected_runs, confirmation.expected_runs_until_sure)
    )
    more = f" ({sure} until sure)" if NONE not in {close, sure} and float(sure) > float(close) else ""
    return f"{close} runs expected at the target{more}"


def published_table(published: Sequence[PublishedRate]) -> Table:
    """The rates of published laws at a target: law, rate, when it applies, source."""
    table = Table(
        "published law",
        Column("rate", no_wrap=True),
        "applies when",
        Column("source", no_wrap=True),
        box=None,
        padding=(0, 1, 0, 0),
        style="dim",
        header_style="dim",
    )
    for law in published:
        applies = law.applies or ""
        table.add_row(escape(law.law), rate(law.learning_rate), escape(applies), escape(law.source))
    return table


def formula_text(formula: Formula, width: int = 120) -> str:
    """The lines of a formula, wrapped at ``width`` columns.

    Rich breaks lines at no-break spaces too, and parts a number from its unit; ``textwrap`` does not.
    """
    wrap = TextWrapper(width=width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(wrap.fill(line) for line in formula.lines)


def sizes_view(sizes: SizesDocument) -> list[RenderableType]:
    """The law in total and in active parameters: exponents, held-out error of each, and which predicts better."""
    table = Table("N", "exponent of N", "exponent of D", "held-out excess loss", box=None)
    for law in sizes.laws:
        used = " (this law)" if law.size == sizes.used else ""
        exponents = [
            f"{term.value:+.3f} ± {term.sd:.3f}" if term else NONE for term in (law.params, law.tokens)
        ]
        table.add_row(f"{law.size}{used}", *exponents, percent(law.mean_excess_loss))
    return [table, escape(sizes.summary)]


MAIN_TERMS: Final = frozenset({"1", "ln N", "ln D", "ln B"})


def law_table(coefficients: Sequence[CoefficientDocument]) -> Group:
    """The terms of ln η*: the main ones, and further ones that the data changed."""
    shown = [term for term in coefficients if term.name in MAIN_TERMS or not term.from_prior]
    rest = len(coefficients) - len(shown)
    table = Table("term", "coefficient", "± sd", "", title="terms of ln η*", title_justify="left", box=None)
    for term in shown:
        origin = "[yellow]from a prior[/]" if term.from_prior else ""
        table.add_row(escape(term.name), f"{term.value:+.4f}", f"{term.sd:.4f}", origin)
    # A caption would be wrapped at the width of the table.
    return Group(table, *([f"[dim]and {rest} smaller terms that come from priors alone[/]"] if rest else []))


def bowls_table(bowls: Sequence[BowlDocument], *, most: int = 40) -> Table:
    """The bowls, cell by cell."""
    title = f"{len(bowls)} bowls" + (f", the first {most} shown" if len(bowls) > most else "")
    table = Table(
        "N", "D", "B", "η*", "95 %", "loss", "runs", "state", title=title, title_justify="left", box=None
    )
    for bowl in bowls[:most]:
        table.add_row(
            count(bowl.params),
            count(bowl.tokens),
            count(bowl.batch_tokens),
            rate(bowl.learning_rate),
            f"{rate(bowl.low)} … {rate(bowl.high)}",
            NONE if bowl.loss is None else f"{bowl.loss:.4f}",
            str(bowl.runs),
            bowl.status,
        )
    return table


def plan_view(plan: PreviewDocument) -> list[RenderableType]:
    """The runs and costs of a plan: its cells, the full grid, and what the strategy is expected to spend."""
    full, expected = plan.full_grid, plan.expected
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_row("full grid", f"{len(plan.cells)} cells, {full.runs} independent runs, {flops(full.flops)}")
    seconds = (
        f"unknown: {escape(plan.seconds_reason or 'no reason given')}"
        if full.worker_seconds is None
        else duration(full.worker_seconds)
    )
    facts.add_row("", f"worker time {seconds}")
    saved = "" if expected.saved_fraction is None else f": {percent(expected.saved_fraction)} saved"
    facts.add_row(
        f"strategy {escape(expected.strategy)}",
        f"expected {expected.runs} runs in {expected.batches} batches, {flops(expected.flops)}{saved}",
    )
    if expected.worker_seconds is not None:
        facts.add_row("", f"worker time {duration(expected.worker_seconds)}")
    facts.add_row("it would stop", escape(expected.ends_because))
    compared = plan.comparison
    if compared is not None:
        added = f"up to {compared.runs} runs, {flops(compared.flops)} beside it"
        facts.add_row("comparison", f"{added}, {compared.seeds} seeds of each contender")
        facts.add_row("", f"at {target_text(compared.held_out)}")
    heading = f"[bold]{escape(plan.name)}[/] aims at {target_text(plan.target)}"
    return [heading, *([cells_table(plan.cells)] if plan.cells else []), facts]


def cells_table(cells: Sequence[CellDocument], *, most: int = 40) -> Table:
    """The cells of a plan, with the cost of one run in each."""
    both = any(cell.params_total is not None for cell in cells)
    sizes = ("N total", "active") if both else ("N",)
    table = Table(*sizes, "D", "B", "learning rates", "FLOPs a run", box=None)
    for cell in cells[:most]:
        counts = (cell.params_total, cell.params_active) if both else (cell.params,)
        table.add_row(
            *map(count, counts),
            count(cell.tokens),
            count(cell.batch_tokens),
            f"{len(cell.learning_rates)} from {rate(min(cell.learning_rates))} to {rate(max(cell.learning_rates))}",
            flops(cell.flops_per_run, ""),
        )
    if len(cells) > most:
        table.caption = f"and {len(cells) - most} more cells"
        table.caption_justify = "left"
    return table


def sweeps_table(sweeps: Iterable[SweepSummary], width: int) -> Table:
    """A list of sweeps for a terminal of ``width`` columns; what was saved and the rate are shown from 100 columns on.

    Ids are never cut, since every command takes a whole one, and names never left out.
    """
    wide = width >= WIDE
    table = Table(
        Column("id", no_wrap=True, min_width=32),
        Column("name", overflow="fold", min_width=8),
        *(
            Column(heading, no_wrap=True)
            for heading in ("state", "runs", *(("saved", "rate") if wide else ()))
        ),
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for sweep in sweeps:
        answer = NONE if sweep.prediction is None else rate(sweep.prediction.learning_rate)
        table.add_row(
            sweep.id,
            escape(sweep.name),
            sweep.state,
            runs_text(sweep.progress),
            *(
                (NONE if sweep.prediction is None else percent(sweep.cost.saved_fraction), answer)
                if wide
                else ()
            ),
        )
    return table


def ended_runs(progress: Progress) -> tuple[int, int]:
    """The number of runs that have ended, and the number asked for."""
    ended, still_open = (
        sum(progress.runs_by_state.get(state, 0) for state in states) for states in (ENDED, RUN_OPEN)
    )
    return ended, ended + still_open


def runs_text(progress: Progress) -> str:
    """The number of runs that have ended, of those asked for: ``12/40``."""
    return "{}/{}".format(*ended_runs(progress))


def comparison_view(compared: ComparisonDocument) -> RenderableType:
    """The contenders at a held-out scale with the verdict; the stage of the comparison before there is one."""
    seeds = "1 seed" if compared.seeds == 1 else f"{compared.seeds} seeds"
    heading = f"Fitting and Transfer at {target_text(compared.held_out)}, {seeds}"
    reason = f": {escape(compared.reason)}" if compared.reason else ""
    if compared.verdict is None:
        return f"{heading}\n{compared.state}{reason}"
    parts: list[RenderableType] = [heading, *([f"{compared.state}{reason}"] if reason else [])]
    parts.append(contenders_table(compared.contenders))
    search = compared.module_search
    if search is not None and search.multipliers is not None:
        found = multipliers(search.multipliers)
        parts.append(f"[dim]rates by module, the best of {search.ended} trials at the base: {found}[/]")
    parts += [
        f"[dim]not compared: {escape(left_out.name)}, {escape(left_out.reason)}[/]"
        for left_out in compared.left_out
    ]
    return Group(*parts, f"[bold]{escape(compared.verdict)}[/]")


def contenders_table(contenders: Sequence[ContenderDocument]) -> Table:
    """Excess loss of every contender with its standard error, and the paired difference to Fitting."""
    table = Table(
        Column("", no_wrap=True),
        *(
            Column(heading, no_wrap=True, justify="right")
            for heading in ("learning rate", "excess loss", "± se", "to Fitting", "± 95 %")
        ),
        box=None,
        padding=(0, 1, 0, 0),
    )
    for item in contenders:
        excess, apart = item.excess_loss, item.difference
        table.add_row(
            escape(item.name),
            rate(item.learning_rate, 3),
            "diverged" if item.diverged else NONE if excess is None else percent(excess.value),
            NONE if excess is None else percent(excess.standard_error),
            NONE if apart is None else percent(apart.value),
            NONE if apart is None else percent(apart.high - apart.value),
        )
    return table
