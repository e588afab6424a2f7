"""``etalon fit``: a law from a run table, without a server."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Any

import typer
from rich.markup import escape

from etalon.cli.display import bowls_table, formula_text, law_table, prediction_panel, refusal_panel
from etalon.cli.options import BUDGET_HELP, amount, flops_amount
from etalon.cli.outcome import Exit, out, print_json, problem_document, tells_errors
from etalon.cli.tables import TableFile, Where, assignments, read_recipe
from orchestrator.amounts import percent, readable
from orchestrator.answers.formula import formula
from orchestrator.answers.param_counts import SizeError, other_sizes, size_notices
from orchestrator.answers.prediction import prediction, target_document
from orchestrator.errors import BadInput, FieldProblem, Unsupported
from orchestrator.law import Law, Observations, Point, Refused, fit
from orchestrator.tables.pooled_columns import pooling_notices
from orchestrator.tables.run_table import RunTable

TARGET_FIELDS = ("params", "tokens", "batch_tokens")


def parse_target(text: str, table: RunTable) -> Point:
    """Read ``params=…,tokens=…,batch_tokens=…``; the batch defaults to the largest of the table.

    Raises:
        BadInput: another spelling, an unknown or missing field, or a value that is not an amount.
    """
    values: dict[str, float] = {"batch_tokens": float(table.batch_tokens.max())}
    for name, value in assignments(text.split(","), "--target").items():
        if name not in TARGET_FIELDS:
            raise BadInput(f"--target has no field {name!r}; it takes {', '.join(TARGET_FIELDS)}.")
        values[name] = amount(f"--target, {name}", value)
    missing = [name for name in TARGET_FIELDS if name not in values]
    if missing:
        raise BadInput(f"--target {text} lacks {', '.join(missing)}; give params=…,tokens=…,batch_tokens=….")
    return Point(params=values["params"], tokens=values["tokens"], batch_tokens=values["batch_tokens"])


@tells_errors
def fit_command(
    table: TableFile,
    target: Annotated[
        list[str] | None,
        typer.Option(help="params=1B,tokens=20B,batch_tokens=262k (or 1e9, 262_144); may repeat."),
    ] = None,
    where: Where = None,
    size: Annotated[
        str, typer.Option(help="The column that is N: params, params_total or params_active.")
    ] = "params",
    budget_flops: Annotated[
        str | None,
        typer.Option(metavar="FLOPS", help=BUDGET_HELP),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fit bowls and the law to finished runs, and predict the learning rate at each target.

    A target that the runs cannot support is refused on its own: the others are answered, and the exit code is 3.
    """
    recipe = read_recipe(table, where or [])
    runs = recipe.sized(size)
    budget = flops_amount("--budget-flops", budget_flops)
    targets = [parse_target(text, runs) for text in target or []]
    try:
        observations = runs.observations()
        law = fit(observations)
    except Refused as refusal:
        raise Unsupported(refusal.detail) from refusal
    others = other_sizes(recipe, law, size)
    law = replace(law, notices=(*law.notices, *size_notices(size, others), *pooling_notices(runs)))
    answers = [_answer(law, wanted, observations, budget) for wanted in targets]
    refusals = [answer for answer in answers if isinstance(answer, Unsupported)]
    if targets and len(refusals) == len(targets):
        raise _all_refused(refusals)
    if as_json:
        print_json(_document(law, targets, answers) | _size_document(size, others))
    else:
        _show(law, targets, answers)
    if refusals:
        raise typer.Exit(Exit.REFUSED)


def _size_document(used: str, others: tuple[SizeError, ...]) -> dict[str, Any]:
    """What was N, and what other counts of parameters would have lost."""
    return {"size": {"used": used, "others": [asdict(other) for other in others]}} if others else {}


def _answer(
    law: Law, target: Point, observations: Observations, budget_flops: float | None
) -> dict[str, Any] | Unsupported:
    """The prediction at one target, or its refusal."""
    try:
        answer = prediction(law, target, runs=lambda: observations, budget_flops=budget_flops)
    except Unsupported as refusal:
        return refusal
    return answer.model_dump(mode="json")


def _all_refused(refusals: list[Unsupported]) -> Unsupported:
    """One refusal that tells all of them."""
    if len(refusals) == 1:
        return refusals[0]
    return Unsupported(
        " ".join(refusal.detail for refusal in refusals),
        fields=tuple(
            FieldProblem(path=f"target.{place}", message=refusal.detail)
            for place, refusal in enumerate(refusals)
        ),
    )


def _document(law: Law, targets: list[Point], answers: list[dict[str, Any] | Unsupported]) -> dict[str, Any]:
    """The contract's document; in the place of a refused target stands its problem, with the target."""
    document = law.to_document()
    return {
        "law": {key: value for key, value in document.items() if key != "bowls"},
        "bowls": document["bowls"],
        "predictions": [
            problem_document(answer) | {"target": target_document(target).model_dump()}
            if isinstance(answer, Unsupported)
            else answer
            for target, answer in zip(targets, answers, strict=True)
        ],
        "warnings": list(law.warnings),
        "notices": [notice.to_document() for notice in law.notices],
    }


def _show(law: Law, targets: list[Point], answers: list[dict[str, Any] | Unsupported]) -> None:
    document = law.to_document()
    out.print(bowls_table(document["bowls"]))
    out.print()
    out.print(law_table(document["coefficients"]))
    out.print(formula_text(formula(law), out.width), highlight=False, markup=False, soft_wrap=True)
    heldout = document["heldout"]
    if heldout is not None:
        out.print(
            f"\nheld out, the largest cells: excess loss {percent(heldout['mean'])} on average, "
            f"{percent(heldout['worst'])} at worst"
        )
        for other in heldout["alternatives"]:
            out.print(f"[dim]  {escape(other['name'])} it would have been {percent(other['mean'])}[/]")
    elif law.heldout_reason:
        out.print(f"\nno held-out error: {readable(law.heldout_reason)}", markup=False)
    for warning in law.warnings:
        out.print(f"[yellow]! {escape(readable(warning))}[/]")
    for target, answer in zip(targets, answers, strict=True):
        out.print()
        if isinstance(answer, Unsupported):
            out.print(refusal_panel(target_document(target).model_dump(), answer.detail))
        else:
            out.print(prediction_panel(answer))
