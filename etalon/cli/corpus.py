"""``etalon corpus``: prepares corpora from text, and lists those that a sweep can name."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from etalon.cli.options import AsJson
from etalon.cli.outcome import err, out, print_json, reports_errors
from orchestrator.amounts import NONE, count
from orchestrator.corpora import PreparedSource, corpus_names, find_corpus
from orchestrator.errors import BadInput, EtalonError
from orchestrator.private import close_home, restricted_umask
from orchestrator.settings import Settings
from workers.preparation.progress import PreparationProgress, PreparationStage

if TYPE_CHECKING:
    from workers.preparation.preparing import PreparedCorpus

app = typer.Typer(no_args_is_help=True, help="Corpora that proxies are trained on.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusRow:
    """A row of the list.

    Attributes:
        tokens: ids in it, train and held-out; None if unknown, as all numbers.
        vocab_size: number of different tokens.
        bytes: size of its file.
        bytes_per_token: bytes of text per token.
        problem: why a sweep cannot use it; None if it can.
        name: the name for sweeps.
        where: path of its file.
    """

    tokens: int | None = None
    vocab_size: int | None = None
    bytes: int | None = None
    bytes_per_token: float | None = None
    problem: str | None = None
    name: str
    where: str


@app.command("prepare")
@reports_errors
def prepare_command(
    source: Annotated[Path, typer.Argument(help="A folder of UTF-8 text, or one text file.")],
    name: Annotated[
        str | None, typer.Option(help="Name for sweeps; by default that of the folder or file.")
    ] = None,
    vocab_size: Annotated[int, typer.Option(help="Most tokens of the byte-pair tokenizer.")] = 8192,
    suffix: Annotated[
        list[str] | None,
        typer.Option(help="Ending of the files to take from a folder, by default .txt; may repeat."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Replace an existing corpus.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a tokenizer on a text and write the text as tokens; after an interruption the same command continues."""
    from workers.preparation.preparing import prepare  # loads tokenizers and NumPy

    close_home(settings := Settings())
    path = source.resolve()
    if name is None:
        name = path.stem if path.is_file() else path.name
    try:
        with _Display() as display, restricted_umask():
            prepared = prepare(
                source,
                name,
                folder=settings.corpora_folder.absolute(),
                vocab_size=vocab_size,
                suffixes=tuple(suffix or [".txt"]),
                again=again,
                on_progress=display.update,
            )
    except OSError as error:
        raise EtalonError(
            f"{error.filename or name}: {error.strerror or error}. Finished work is kept; after a repair, the same command "
            "continues."
        ) from error
    except KeyboardInterrupt:
        err.print("Interrupted; the same command continues.")
        raise typer.Exit(130) from None
    _show(prepared, as_json=as_json)


@app.command("list")
@reports_errors
def list_command(as_json: AsJson = False) -> None:
    """List the corpora that a sweep can name: built in, registered (ETALON_CORPORA) and prepared."""
    settings = Settings()
    rows = [_row(name, settings) for name in corpus_names(settings)]
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    table = Table("name", box=None)
    for column in ("tokens", "vocabulary", "bytes per token", "size"):
        table.add_column(column, justify="right")
    table.add_column("where", overflow="fold")
    for row in rows:
        table.add_row(
            escape(row.name),
            count(row.tokens) if row.tokens else NONE,
            str(row.vocab_size or NONE),
            f"{row.bytes_per_token:.2f}" if row.bytes_per_token else NONE,
            f"{count(row.bytes)}B" if row.bytes else NONE,
            escape(row.where) + (f" [red]({escape(row.problem)})[/]" if row.problem else ""),
        )
    out.print(table)


class _Display:
    """A progress bar for the current stage on a terminal, a line per stage elsewhere."""

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
        self._stage: PreparationStage | None = None
        self._task = TaskID(0)

    def __enter__(self) -> _Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, progress: PreparationProgress) -> None:
        """Show the progress."""
        tokens = f"{count(progress.tokens)} tokens" if progress.tokens else ""
        if progress.stage is not self._stage:
            if self._stage is not None:
                self._progress.remove_task(self._task)
            self._stage = progress.stage
            self._task = self._progress.add_task(
                progress.stage, completed=progress.done, total=progress.total, tokens=tokens
            )
            if not err.is_terminal:
                err.print(f"{progress.stage}: {count(progress.total)}B", markup=False)
        self._progress.update(self._task, completed=progress.done, tokens=tokens)


def _show(prepared: PreparedCorpus, *, as_json: bool) -> None:
    document = prepared.document
    if not prepared.new:
        err.print(
            f"The corpus {prepared.folder.name!r} exists and its text is unchanged; nothing to do.",
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


def _row(name: str, settings: Settings) -> CorpusRow:
    try:
        source = find_corpus(name, settings)
    except BadInput as error:
        return CorpusRow(name=name, where=str(settings.corpora_folder / name), problem=error.detail)
    if source is None:
        return CorpusRow(name=name, where="built in", vocab_size=256)
    row = CorpusRow(name=name, where=str(source.path), problem=source.unreadable())
    width = 2 if source.dtype == "uint16" else 4
    if isinstance(source, PreparedSource):
        document = source.document
        return replace(
            row,
            tokens=document.tokens,
            vocab_size=document.vocab_size,
            bytes=document.tokens * width,
            bytes_per_token=document.heldout_bytes_per_token,
        )
    if not source.path.is_file():
        return row
    size = source.path.stat().st_size
    if source.path.suffix == ".bin":
        return replace(row, tokens=size // width, vocab_size=source.vocab_size, bytes=size)
    return replace(row, tokens=size, vocab_size=256, bytes=size, bytes_per_token=1.0)
