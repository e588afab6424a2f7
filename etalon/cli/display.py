"""How results look in a terminal: numbers for people, tables, the prediction card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import TextWrapper
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Column, Table

from orchestrator.amounts import count, duration, flops, percent, rate, readable, times
from orchestrator.answers.formula import Formula


def target_text(target: Mapping[str, float]) -> str:
    """A target in words."""
    return (
        f"{count(target['params'])} parameters, {count(target['tokens'])} tokens, "
        f"batch of {count(target['batch_tokens'])} tokens"
    )


def prediction_panel(prediction: Mapping[str, Any]) -> Panel:
    """The prediction card: rate, interval, valley, what a wrong rate costs, warnings, the published laws beside it."""
    interval = prediction["interval"]
    lines = [
        f"[bold green]learning rate {rate(prediction['learning_rate'])}[/]"
        f"   {interval['level']:.0%} interval {rate(interval['low'])} … {rate(interval['high'])}",
        _valley_text(prediction["valley"]),
        *_wrong_rate_text(prediction.get("wrong_rate", [])),
    ]
    if prediction.get("expected_loss") is not None:
        lines.append(f"expected loss {prediction['expected_loss']:.4g}")
    lines += _confirmation_text(prediction.get("confirmation"))
    far = ", ".join(f"{name} ×{ratio:.3g}" for name, ratio in prediction["extrapolation"].items())
    lines.append(f"target over the largest seen: {far}")
    lines += [f"[yellow]! {escape(readable(warning))}[/]" for warning in prediction["warnings"]]
    parts: list[RenderableType] = ["\n".join(lines)]
    if prediction["published"]:
        parts += ["", published_table(prediction["published"])]
    return Panel(Group(*parts), title=f"at {target_text(prediction['target'])}", title_align="left")


def refusal_panel(target: Mapping[str, float], detail: str) -> Panel:
    """The card of a target that the runs cannot support."""
    text = f"[bold red]no number, and why:[/] {escape(readable(detail))}"
    return Panel(text, title=f"at {target_text(target)}", title_align="left")


def _valley_text(valley: Mapping[str, Any]) -> str:
    allowed = f"rates that lose at most {percent(valley['excess_loss'])}"
    if valley["high"] > valley["low"]:
        return f"{allowed}: {rate(valley['low'])} … {rate(valley['high'])}"
    reason = valley.get("reason") or "The optimum is too uncertain to name a range."
    return f"[yellow]{allowed}: none. {escape(reason)}[/]"


def _wrong_rate_text(wrong: Sequence[Mapping[str, float]]) -> list[str]:
    """One line: what the predicted rate, and rates beside it, are expected to cost; none where nothing is told."""
    if not wrong:
        return []
    costs = {item["factor"]: percent(item["excess_loss"]) for item in wrong}
    beside = ", ".join(f"{times(factor)} costs {costs[factor]}" for factor in (0.5, 2.0))
    return [f"expected excess loss at this rate {costs[1.0]}; {beside}"]


def _confirmation_text(confirmation: Mapping[str, Any] | None) -> list[str]:
    """What would settle the answer at the target, and what to run where that costs too much."""
    if confirmation is None:
        return []
    lines, rates = [], confirmation["learning_rates"]
    if rates:
        expected = round(confirmation["expected_runs"], 1)
        until_sure = round(confirmation["expected_runs_until_sure"], 1)
        more = f" ({until_sure:.1f} until sure)" if until_sure > expected else ""
        lines.append(
            f"confirm with {expected:.1f} runs expected at the target{more}: {rate(rates[0])} first, "
            f"{flops(confirmation['flops_per_run'])} each"
        )
    elif confirmation["best"] is not None:
        lines.append(f"confirm: {escape(confirmation['reason'])}")
    instead = confirmation.get("affordable")
    if instead is not None:
        lines.append(
            f"or {len(instead['learning_rates'])} runs at {target_text(instead)}, rates "
            f"{', '.join(map(rate, instead['learning_rates']))}: {flops(instead['flops'])}, interval ×/÷ "
            f"{instead['interval_factor_before']:.3g} to {instead['interval_factor_after']:.3g} expected"
        )
    return lines


def published_table(published: Sequence[Mapping[str, Any]]) -> Table:
    """What published laws say at a target: law, rate, when it applies, source."""
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
        applies = law.get("applies") or law.get("note") or ""
        table.add_row(escape(law["law"]), rate(law["learning_rate"]), escape(applies), escape(law["source"]))
    return table


def formula_text(formula: Formula, width: int = 120) -> str:
    """The law in two lines that a person can use, and the point they count from, wrapped at ``width`` columns.

    Rich breaks lines at no-break spaces too, and parts a number from its unit; ``textwrap`` does not.
    """
    lines = (
        f"η* {formula.sign} {formula.power_law}",
        f"ln η* ≈ {formula.logarithm}",
        *([f"with {formula.where}"] if formula.where else []),
        f"{formula.reference}: the geometric mean of the cells. "
        f"In these cells the law itself is within {percent(formula.off - 1)} of the second line.",
    )
    wrap = TextWrapper(width=width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(wrap.fill(line) for line in lines)


def sizes_view(sizes: Mapping[str, Any]) -> list[RenderableType]:
    """The law in total and in active parameters: exponents of N and D, what each would have lost, and the verdict."""
    table = Table("N", "exponent of N", "exponent of D", "held-out excess loss", box=None)
    for law in sizes["laws"]:
        used = " (this law)" if law["size"] == sizes["used"] else ""
        exponents = [
            f"{term['value']:+.3f} ± {term['sd']:.3f}" if term else "–"
            for term in (law["params"], law["tokens"])
        ]
        table.add_row(f"{law['size']}{used}", *exponents, percent(law["mean_excess_loss"]))
    return [table, escape(readable(sizes["summary"]))]


MAIN_TERMS = frozenset({"1", "ln N", "ln D", "ln B"})


def law_table(coefficients: Sequence[Mapping[str, Any]]) -> Group:
    """The law's terms: ln η* = Σ value · term; of the others those that the data moved."""
    shown = [item for item in coefficients if item["name"] in MAIN_TERMS or not item["from_prior"]]
    rest = len(coefficients) - len(shown)
    table = Table("term", "coefficient", "± sd", "", title="terms of ln η*", title_justify="left", box=None)
    for item in shown:
        origin = "[yellow]from a prior[/]" if item["from_prior"] else ""
        table.add_row(escape(item["name"]), f"{item['value']:+.4f}", f"{item['sd']:.4f}", origin)
    # A caption would be wrapped at the width of the table.
    return Group(table, *([f"[dim]and {rest} smaller terms that come from priors alone[/]"] if rest else []))


def bowls_table(bowls: Sequence[Mapping[str, Any]], *, most: int = 40) -> Table:
    """The bowls, cell by cell."""
    title = f"{len(bowls)} bowls" + (f", the first {most} shown" if len(bowls) > most else "")
    table = Table(
        "N", "D", "B", "η*", "95 %", "loss", "runs", "state", title=title, title_justify="left", box=None
    )
    for bowl in bowls[:most]:
        known = bowl.get("learning_rate") is not None
        table.add_row(
            count(bowl["params"]),
            count(bowl["tokens"]),
            count(bowl["batch_tokens"]),
            rate(bowl["learning_rate"]) if known else "–",
            f"{rate(bowl['low'])} … {rate(bowl['high'])}" if bowl.get("low") else "–",
            f"{bowl['loss']:.4f}" if bowl.get("loss") is not None else "–",
            str(bowl["runs"]),
            str(bowl["status"]),
        )
    return table


def plan_view(plan: Mapping[str, Any]) -> list[RenderableType]:
    """What a sweep would run and cost: its cells, the full grid, and what the strategy is expected to spend."""
    full, expected = plan["full_grid"], plan["expected"]
    facts = Table.grid(padding=(0, 2, 0, 0))
    cells = len(plan["cells"])
    facts.add_row("full grid", f"{cells} cells, {full['runs']} independent runs, {flops(full['flops'])}")
    seconds = full["worker_seconds"]
    told = (
        f"not told: {escape(plan['seconds_reason'] or 'unknown')}" if seconds is None else duration(seconds)
    )
    facts.add_row("", f"worker time {told}")
    saved = "" if expected["saved_fraction"] is None else f": {percent(expected['saved_fraction'])} saved"
    facts.add_row(
        f"strategy {escape(expected['strategy'])}",
        f"expected {expected['runs']} runs in {expected['batches']} batches, {flops(expected['flops'])}{saved}",
    )
    if expected["worker_seconds"] is not None:
        facts.add_row("", f"worker time {duration(expected['worker_seconds'])}")
    facts.add_row("it would stop", escape(readable(expected["ends_because"])))
    compared = plan.get("comparison")
    if compared is not None:
        added = f"up to {compared['runs']} runs, {flops(compared['flops'])} beside it"
        facts.add_row("comparison", f"{added}, {compared['seeds']} seeds of each contender")
        facts.add_row("", f"at {target_text(compared['held_out'])}")
    heading = f"[bold]{escape(plan['name'])}[/] aims at {target_text(plan['target'])}"
    return [heading, *([cells_table(plan["cells"])] if cells else []), facts]


def cells_table(cells: Sequence[Mapping[str, Any]], *, most: int = 40) -> Table:
    """The cells of a plan, with what a run of each costs."""
    both = any(cell.get("params_total") is not None for cell in cells)
    sizes = ("N total", "active") if both else ("N",)
    table = Table(*sizes, "D", "B", "learning rates", "FLOPs a run", box=None)
    for cell in cells[:most]:
        rates = cell["learning_rates"]
        table.add_row(
            *(
                [count(cell["params_total"]), count(cell["params_active"])]
                if both
                else [count(cell["params"])]
            ),
            count(cell["tokens"]),
            count(cell["batch_tokens"]),
            f"{len(rates)} from {rate(min(rates))} to {rate(max(rates))}",
            flops(cell["flops_per_run"], ""),
        )
    if len(cells) > most:
        table.caption = f"and {len(cells) - most} more cells"
        table.caption_justify = "left"
    return table


def sweeps_table(sweeps: Iterable[Mapping[str, Any]]) -> Table:
    """A list of sweeps, for 80 columns and more: whole ids, as every command takes them."""
    table = Table(
        Column("id", no_wrap=True, min_width=32),
        Column("name", overflow="fold"),
        *(Column(heading, no_wrap=True) for heading in ("state", "runs", "saved", "rate")),
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for sweep in sweeps:
        cost, prediction = sweep["cost"], sweep["prediction"]
        table.add_row(
            sweep["id"],
            escape(sweep["name"]),
            sweep["state"],
            runs_text(sweep["progress"]),
            percent(cost["saved_fraction"]),
            rate(prediction["learning_rate"]) if prediction else "–",
        )
    return table


def runs_text(progress: Mapping[str, Any]) -> str:
    """How many runs have ended, of those asked for."""
    by_state = progress["runs_by_state"]
    ended = sum(by_state.get(state, 0) for state in ("completed", "diverged", "failed"))
    open_runs = sum(by_state.get(state, 0) for state in ("pending", "running"))
    return f"{ended}/{ended + open_runs}"
