"""``etalon fit``: a law from a run table, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from cli.display import bowls_table, law_table, prediction_panel
from cli.outcome import out, print_json, tells_errors
from orchestrator.amounts import percent, readable
from orchestrator.errors import BadInput, Unsupported
from orchestrator.law import Law, Refused, Target, fit
from orchestrator.prediction import prediction
from orchestrator.runtable import RunTable, parse_csv

TARGET_FIELDS = ("params", "tokens", "batch_tokens")


def parse_target(text: str, table: RunTable) -> Target:
    """Read ``params=…,tokens=…,batch_tokens=…``; the batch defaults to the largest of the table.

    Raises:
        BadInput: another spelling, an unknown or missing field, or a value that is not a positive number.
    """
    values: dict[str, float] = {"batch_tokens": float(table.batch_tokens.max())}
    for name, value in _assignments(text.split(","), "--target").items():
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


def parse_where(conditions: list[str]) -> dict[str, str]:
    """Read repeated ``column=value``."""
    return _assignments(conditions, "--where")


def read_table(path: Path) -> RunTable:
    """Read a run table from a file.

    Raises:
        BadInput: no such file, or not a run table.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    return parse_csv(data)


@tells_errors
def fit_command(
    table: Annotated[Path, typer.Argument(metavar="TABLE.csv", help="A run table.")],
    target: Annotated[
        list[str] | None,
        typer.Option(help="params=…,tokens=…,batch_tokens=…; may repeat."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="column=value: only these rows; may repeat.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fit bowls and the law to finished runs, and predict the learning rate at each target."""
    runs = read_table(table).one_recipe(parse_where(where or []))
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


def _assignments(items: list[str], option: str) -> dict[str, str]:
    found = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise BadInput(f"{option} {item!r}: write it as name=value.")
        found[name.strip()] = value.strip()
    return found
