"""``etalon corpus …``: text becomes a corpus that sweeps find by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from etalon.cli.outcome import err, out, print_json, tells_errors
from orchestrator.amounts import count
from orchestrator.corpora import PreparedSource, corpus_names, find_corpus
from orchestrator.errors import BadInput, EtalonError
from orchestrator.private import close_home, restricted_umask
from orchestrator.settings import CorpusSource, Settings
from workers.preparation.preparing import Prepared, prepare
from workers.preparation.progress import Progress as Told
from workers.preparation.progress import Stage

app = typer.Typer(no_args_is_help=True, help="Corpora that proxies are trained on.")

NONE = "–"


@app.command("prepare")
@tells_errors
def prepare_command(
    source: Annotated[Path, typer.Argument(help="A folder of UTF-8 text, or one text file.")],
    name: Annotated[
        str | None, typer.Option(help="What sweeps call it; the folder's or file's own name if left out.")
    ] = None,
    vocab_size: Annotated[int, typer.Option(help="Tokens of the byte-pair tokenizer, at most.")] = 8192,
    suffix: Annotated[
        list[str] | None,
        typer.Option(help="Ending of the files to take from a folder, .txt if left out; may repeat."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a tokenizer on a text and write the text as tokens; interrupted, the same command goes on."""
    close_home(settings := Settings())
    whole = source.resolve()
    called = name if name is not None else whole.stem if whole.is_file() else whole.name
    try:
        with _Display() as display, restricted_umask():
            prepared = prepare(
                source,
                called,
                folder=settings.corpora_folder.absolute(),
                vocab_size=vocab_size,
                suffixes=tuple(suffix or [".txt"]),
                again=again,
                tell=display.tell,
            )
    except OSError as error:
        raise EtalonError(
            f"{error.filename or called}: {error.strerror or error}. What is done is kept: when that is mended, the same "
            "command goes on."
        ) from error
    except KeyboardInterrupt:
        err.print("Interrupted; the same command goes on where it stopped.")
        raise typer.Exit(130) from None
    _show(prepared, as_json=as_json)


@app.command("list")
@tells_errors
def list_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the corpora that a sweep may name here: built in, registered (ETALON_CORPORA) and prepared."""
    settings = Settings()
    rows = [_row(name, settings) for name in corpus_names(settings)]
    if as_json:
        print_json(rows)
        return
    table = Table("name", box=None)
    for column in ("tokens", "vocabulary", "bytes per token", "size"):
        table.add_column(column, justify="right")
    table.add_column("where", overflow="fold")
    for row in rows:
        table.add_row(
            escape(row["name"]),
            count(row["tokens"]) if row["tokens"] else NONE,
            str(row["vocab_size"] or NONE),
            f"{row['bytes_per_token']:.2f}" if row["bytes_per_token"] else NONE,
            f"{count(row['bytes'])}B" if row["bytes"] else NONE,
            escape(row["where"]) + (f" [red]({escape(row['problem'])})[/]" if row["problem"] else ""),
        )
    out.print(table)


class _Display:
    """A bar for the stage that is under way where somebody watches, a line per stage elsewhere."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TextColumn("{task.fields[tokens]}"),
            TimeRemainingColumn(),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        self._stage: Stage | None = None
        self._task = TaskID(0)

    def __enter__(self) -> _Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def tell(self, told: Told) -> None:
        """Move the bar."""
        tokens = f"{count(told.tokens)} tokens" if told.tokens else ""
        if told.stage is not self._stage:
            if self._stage is not None:
                self._progress.remove_task(self._task)
            self._stage = told.stage
            self._task = self._progress.add_task(
                told.stage, completed=told.done, total=told.total, tokens=tokens
            )
            if not err.is_terminal:
                err.print(f"{told.stage}: {count(told.total)}B", markup=False)
        self._progress.update(self._task, completed=told.done, tokens=tokens)


def _show(prepared: Prepared, *, as_json: bool) -> None:
    document = prepared.document
    if not prepared.new:
        err.print(
            f"The corpus {prepared.folder.name!r} is there and its text unchanged; nothing to do.",
            markup=False,
        )
    if as_json:
        print_json(document.model_dump(mode="json") | {"folder": str(prepared.folder)})
        return
    out.print(
        f"{prepared.folder.name}: {count(document.train_tokens)} tokens to train on, {count(document.heldout_tokens)} "
        f"held out, a vocabulary of {document.vocab_size}, {document.heldout_bytes_per_token:.2f} bytes per token, in "
        f"{prepared.folder}. A sweep names it as trainer.corpus: {prepared.folder.name}",
        markup=False,
        soft_wrap=True,
    )
    if document.vocab_size < document.plan.vocab_size:
        err.print(
            f"Its vocabulary is below the {document.plan.vocab_size} asked for: no other pair occurs twice in the text.",
            markup=False,
            soft_wrap=True,
        )


def _row(name: str, settings: Settings) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(("tokens", "vocab_size", "bytes", "bytes_per_token", "problem"))
    row |= {"name": name, "where": "built in"}
    try:
        source = find_corpus(name, settings)
    except BadInput as error:
        return row | {"where": str(settings.corpora_folder / name), "problem": error.detail}
    if source is None:
        return row | {"vocab_size": 256}
    return row | _size(source) | {"where": str(source.path), "problem": source.unreadable()}


def _size(source: CorpusSource) -> dict[str, Any]:
    if isinstance(source, PreparedSource):
        document = source.document
        known = {"tokens": document.tokens, "bytes_per_token": document.heldout_bytes_per_token}
        return known | {"vocab_size": document.vocab_size, "bytes": document.tokens * _width(source)}
    if not source.path.is_file():
        return {}
    size = source.path.stat().st_size
    if source.path.suffix == ".bin":
        return {"tokens": size // _width(source), "vocab_size": source.vocab_size, "bytes": size}
    return {"tokens": size, "vocab_size": 256, "bytes": size, "bytes_per_token": 1.0}


def _width(source: CorpusSource) -> int:
    return 2 if source.dtype == "uint16" else 4
