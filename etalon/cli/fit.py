"""``etalon fit``: a law from a run table, without a server."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from rich.markup import escape

from etalon.arguments import amount, flops_amount
from etalon.cli.display import bowls_table, formula_text, law_table, prediction_panel, refusal_panel
from etalon.cli.options import (
    BUDGET_HELP,
    AsJson,
    Ignore,
    TableFile,
    Where,
    assignments,
    read_recipe,
)
from etalon.cli.outcome import Exit, out, print_json, reports_errors
from orchestrator.amounts import cells_in_words, percent
from orchestrator.documents.fits import FitDocument, RefusedTarget
from orchestrator.documents.laws import FittedLaw
from orchestrator.errors import BadInput
from orchestrator.tables.picking import COMMAND

TARGET_FIELDS: Final = ("params", "tokens", "batch_tokens")


@reports_errors
def fit_command(
    table: TableFile,
    target: Annotated[
        list[str] | None,
        typer.Option(help="params=1B,tokens=20B,batch_tokens=262k (or 1e9, 262_144); may repeat."),
    ] = None,
    where: Where = None,
    ignore: Ignore = None,
    size: Annotated[
        str, typer.Option(help="The column that is N: params, params_total or params_active.")
    ] = "params",
    budget_flops: Annotated[str | None, typer.Option(metavar="FLOPS", help=BUDGET_HELP)] = None,
    as_json: AsJson = False,
) -> None:
    """Fit bowls and the law to finished runs, and predict the learning rate at each target.

    A target that the runs cannot support is refused; the others are still answered, and the exit code is 3.
    """
    targets = [parse_target(text) for text in target or []]
    budget = flops_amount("--budget-flops", budget_flops)

    from etalon.offline import law_of  # SciPy takes a second to load

    law = law_of(read_recipe(table, where or [], ignore or []), size, COMMAND)
    document = law.with_predictions([law.target(**fields) for fields in targets], budget_flops=budget)
    if as_json:
        print_json(document.to_json())
    else:
        _show(document, formula_text(law.formula, out.width))
    if any(isinstance(answer, RefusedTarget) for answer in document.predictions):
        raise typer.Exit(Exit.REFUSED)


def parse_target(text: str) -> dict[str, float]:
    """Read ``params=…,tokens=…,batch_tokens=…``; the batch may be left out.

    Raises:
        BadInput: another form, an unknown or missing field, or a value that is not an amount.
    """
    values = {}
    for name, value in assignments(text.split(","), "--target").items():
        if name not in TARGET_FIELDS:
            raise BadInput(f"--target has no field {name!r}; it takes {', '.join(TARGET_FIELDS)}.")
        values[name] = amount(f"--target, {name}", value)
    missing = [name for name in TARGET_FIELDS if name not in {*values, "batch_tokens"}]
    if missing:
        raise BadInput(f"--target {text} lacks {', '.join(missing)}; give params=…,tokens=…,batch_tokens=….")
    return values


def _show(document: FitDocument, formula: str) -> None:
    out.print(bowls_table(document.bowls))
    out.print()
    out.print(law_table(document.law.coefficients))
    out.print(formula, highlight=False, markup=False, soft_wrap=True)
    _show_heldout(document.law)
    for warning in document.warnings:
        out.print(f"[yellow]! {escape(warning)}[/]")
    for answer in document.predictions:
        out.print()
        if isinstance(answer, RefusedTarget):
            out.print(refusal_panel(answer.target, answer.detail))
        else:
            out.print(prediction_panel(answer, shown=document.warnings))


def _show_heldout(law: FittedLaw) -> None:
    if law.heldout is not None:
        out.print(
            f"\nheld out, the largest cells: excess loss {percent(law.heldout.mean)} on average, "
            f"{percent(law.heldout.worst)} at worst; {cells_in_words(len(law.heldout.cells), law.heldout.groups)}"
        )
        for other in law.heldout.alternatives:
            taken = any(note.code == "smaller_law" and other.name in note.message for note in law.notices)
            verdict = "taken" if taken else "not better by more than chance"
            out.print(f"[dim]  {escape(other.name)} it would have been {percent(other.mean)}: {verdict}[/]")
    elif law.heldout_reason:
        out.print(f"\nno held-out error: {law.heldout_reason}", markup=False)
