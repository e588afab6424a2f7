"""How results look in a terminal: numbers for people, tables, the prediction card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.panel import Panel
from rich.table import Column, Table

from orchestrator.amounts import count, percent, rate, readable


def target_text(target: Mapping[str, float]) -> str:
    """A target in words."""
    return (
        f"{count(target['params'])} parameters, {count(target['tokens'])} tokens, "
        f"batch of {count(target['batch_tokens'])} tokens"
    )


def prediction_panel(prediction: Mapping[str, Any]) -> Panel:
    """The prediction card: rate, interval, valley, warnings and the published laws beside it."""
    interval, valley = prediction["interval"], prediction["valley"]
    lines = [
        f"[bold green]learning rate {rate(prediction['learning_rate'])}[/]"
        f"   {interval['level']:.0%} interval {rate(interval['low'])} … {rate(interval['high'])}",
        _valley_text(valley),
    ]
    if prediction.get("expected_loss") is not None:
        lines.append(f"expected loss {prediction['expected_loss']:.4g}")
    far = ", ".join(f"{name} ×{ratio:.3g}" for name, ratio in prediction["extrapolation"].items())
    lines.append(f"target over the largest seen: {far}")
    lines += [f"[yellow]! {escape(readable(warning))}[/]" for warning in prediction["warnings"]]
    published = "; ".join(f"{p['law']} {rate(p['learning_rate'])}" for p in prediction["published"])
    if published:
        lines.append(f"[dim]published laws, other recipes: {escape(published)}[/]")
    return Panel("\n".join(lines), title=f"at {target_text(prediction['target'])}", title_align="left")


def _valley_text(valley: Mapping[str, float]) -> str:
    allowed = f"rates that lose at most {percent(valley['excess_loss'])}"
    if valley["high"] > valley["low"]:
        return f"{allowed}: {rate(valley['low'])} … {rate(valley['high'])}"
    return f"{allowed}: too uncertain to name a range"


MAIN_TERMS = frozenset({"1", "ln N", "ln D", "ln B"})


def law_table(coefficients: Sequence[Mapping[str, Any]]) -> Table:
    """The law's terms: ln η* = Σ value · term; of the others those that the data moved."""
    shown = [item for item in coefficients if item["name"] in MAIN_TERMS or not item["from_prior"]]
    rest = len(coefficients) - len(shown)
    caption = f"and {rest} smaller terms that come from priors alone" if rest else None
    table = Table(
        "term", "coefficient", "± sd", "", title="ln η* =", title_justify="left", box=None, caption=caption
    )
    table.caption_justify = "left"
    for item in shown:
        origin = "[yellow]from a prior[/]" if item["from_prior"] else ""
        table.add_row(escape(item["name"]), f"{item['value']:+.4f}", f"{item['sd']:.4f}", origin)
    return table


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


def sweeps_table(sweeps: Iterable[Mapping[str, Any]]) -> Table:
    """A list of sweeps."""
    whole_id = Column("id", no_wrap=True, min_width=32)
    table = Table(whole_id, "name", "state", "runs", "batches", "saved", "predicted rate", box=None)

    for sweep in sweeps:
        progress, cost, prediction = sweep["progress"], sweep["cost"], sweep["prediction"]
        table.add_row(
            sweep["id"],
            escape(sweep["name"]),
            sweep["state"],
            runs_text(progress),
            str(progress["batches"]),
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
