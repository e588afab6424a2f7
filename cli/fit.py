"""``etalon fit``: a law from a run table, without a server."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from cli.display import bowls_table, law_table, prediction_panel
from cli.outcome import out, print_json, tells_errors
from cli.tables import TableFile, Where, assignments, read_recipe
from orchestrator.amounts import percent, readable
from orchestrator.errors import BadInput, Unsupported
from orchestrator.law import Law, Refused, Target, fit
from orchestrator.prediction import prediction
from orchestrator.runtable import RunTable

TARGET_FIELDS = ("params", "tokens", "batch_tokens")


def parse_target(text: str, table: RunTable) -> Target:
    """Read ``params=…,tokens=…,batch_tokens=…``; the batch defaults to the largest of the table.

    Raises:
        BadInput: another spelling, an unknown or missing field, or a value that is not a positive number.
    """
    values: dict[str, float] = {"batch_tokens": float(table.batch_tokens.max())}
    for name, value in assignments(text.split(","), "--target").items():
        if name not in TARGET_FIELDS:
            raise BadInput(f"--target has no field {name!r}; it takes {', '.join(TARGET_FIELDS)}.")
        try:
            values[name] = float(value.replace("_", ""))
        except ValueError as error:
            raise BadInput(f"--target {name}={value}: not a number.") from error
        if not 0 < values[name] < 1e30:
            raise BadInput(f"--target {name}={value}: must be a positive number.")
    missing = [name for name in TARGET_FIELDS if name not in values]
    if missing:
        raise BadInput(f"--target {text} lacks {', '.join(missing)}; give params=…,tokens=…,batch_tokens=….")
    return Target(params=values["params"], tokens=values["tokens"], batch_tokens=values["batch_tokens"])


@tells_errors
def fit_command(
    table: TableFile,
    target: Annotated[
        list[str] | None,
        typer.Option(help="params=…,tokens=…,batch_tokens=…; may repeat."),
    ] = None,
    where: Where = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fit bowls and the law to finished runs, and predict the learning rate at each target."""
    runs = read_recipe(table, where or [])
    targets = [parse_target(text, runs) for text in target or []]
    try:
        law = fit(runs.observations())
    except Refused as refusal:
        raise Unsupported(refusal.detail) from refusal
    document = law.to_document()
    predictions = [prediction(law, wanted) for wanted in targets]
    if as_json:
        print_json(
            {
                "law": {key: value for key, value in document.items() if key != "bowls"},
                "bowls": document["bowls"],
                "predictions": predictions,
                "warnings": list(law.warnings),
            }
        )
        return
    _show(law, document, predictions)


def _show(law: Law, document: dict[str, Any], predictions: list[dict[str, Any]]) -> None:
    out.print(bowls_table(document["bowls"]))
    out.print()
    out.print(law_table(document["coefficients"]))
    heldout = document["heldout"]
    if heldout is not None:
        out.print(
            f"\nheld out, the largest cells: excess loss {percent(heldout['mean'])} on average, "
            f"{percent(heldout['worst'])} at worst"
        )
    elif law.heldout_reason:
        out.print(f"\nno held-out error: {readable(law.heldout_reason)}", markup=False)
    for warning in law.warnings:
        out.print(f"[yellow]! {escape(readable(warning))}[/]")
    for predicted in predictions:
        out.print()
        out.print(prediction_panel(predicted))
