"""Settings of every process, read from the environment (``ETALON_…``) and nowhere else."""

from __future__ import annotations

import json
import os
from codecs import getincrementaldecoder
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import platformdirs
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from orchestrator.errors import BadInput
from orchestrator.processes import service_folder

_HEAD_BYTES: Final = 2**16
_SQLITE: Final = "sqlite:///"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
"""A path that stays the same in a process with another working folder."""


class CorpusSource(BaseModel):
    """A corpus registered by the operator.

    Attributes:
        path: a file of UTF-8 text, or of token ids (``.bin``), readable for the API and every worker.
        dtype: type of the token ids; required for ``.bin``.
        vocab_size: one more than the largest token id; required for ``.bin``.
        heldout_tokens: number of ids at the end of a ``.bin`` that are never trained on; a sixteenth if None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: AbsolutePath
    dtype: Literal["uint16", "uint32"] | None = None
    vocab_size: Annotated[int, Field(ge=2)] | None = None
    heldout_tokens: Annotated[int, Field(ge=1)] | None = None

    def unreadable(self) -> str | None:
        """The reason why the corpus cannot be read, judged by its first bytes; None if it can."""
        if self.path.suffix == ".bin" and (self.dtype is None or self.vocab_size is None):
            return f"{self.path} holds token ids, so its registration needs dtype and vocab_size"
        if self.path.suffix != ".bin" and self.heldout_tokens is not None:
            return f"heldout_tokens is for .bin files; {self.path} is text"
        try:
            with self.path.open("rb") as file:
                head = file.read(_HEAD_BYTES)
            if not head:
                return f"{self.path} is empty"
            if self.path.suffix != ".bin":
                getincrementaldecoder("utf-8")().decode(head)
        except OSError as error:
            return f"{self.path}: {error.strerror}"
        except UnicodeDecodeError as error:
            return f"{self.path} is not UTF-8 text (byte {error.start})"
        return None


def _as_source(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


def _with_absolute_file(url: str) -> str:
    """The URL of an SQLite file by its absolute path; any other URL, one without a file too, as it is.

    Raises:
        ValueError: another spelling of SQLite, such as ``sqlite+pysqlite:///FILE``.
    """
    if url.startswith("sqlite") and not url.startswith(_SQLITE) and url != "sqlite://":
        raise ValueError(f"a database of SQLite is written {_SQLITE}FILE")
    file = url.removeprefix(_SQLITE)
    if file in {url, "", ":memory:"} or file.startswith("file:"):
        return url
    return f"{_SQLITE}{Path(file).absolute()}"


class Settings(BaseSettings):
    """Settings of every process; ``Settings()`` reads the environment. Relative paths are made absolute.

    Attributes:
        home: folder of all state on this machine.
        database_url: ``sqlite:///FILE`` or ``postgresql://…``; by default a file in ``home``.
        ray_address: ``host:port`` of the Ray cluster; None starts a local one.
        checkpoints: folder of trunks and checkpoints; in a cluster, shared by all nodes.
        corpora: registered corpora by name, as JSON: ``{"c4": {"path": "/data/c4.bin", "dtype": "uint16",
            "vocab_size": 50304}, "novels": "/data/novels.txt"}``. ``stdlib`` always exists.
        corpora_folder: where ``etalon corpus prepare`` writes corpora, by name; in a cluster, shared by the API and
            all nodes.
        trainers: a YAML file, or a folder of them, that registers the operator's own training programs.
        lease_seconds: how long a process may be silent before another takes over.
        tick_seconds: pause between two reads of the database by the orchestrator.
        client_seconds: how long a client may take over the head of a request, over a body beyond its usual rate, and
            over an answer without reading any of it.
        trusted_proxies: addresses of reverse proxies, with commas between, whose ``X-Forwarded-For`` and ``-Proto``
            are believed; by default none.
        url, token: the service's address and the bearer token, for the command line.
    """

    model_config = SettingsConfigDict(env_prefix="ETALON_", env_ignore_empty=True, frozen=True)

    home: AbsolutePath = Field(default_factory=lambda: platformdirs.user_data_path("etalon"))
    database_url: Annotated[str, AfterValidator(_with_absolute_file)] = Field(
        default_factory=lambda data: f"{_SQLITE}{data['home'] / 'etalon.db'}"
    )
    ray_address: str | None = None
    checkpoints: AbsolutePath = Field(default_factory=lambda data: data["home"] / "checkpoints")
    corpora: dict[str, Annotated[CorpusSource, BeforeValidator(_as_source)]] = {}
    corpora_folder: AbsolutePath = Field(default_factory=lambda data: data["home"] / "corpora")
    trainers: AbsolutePath = Field(default_factory=lambda data: data["home"] / "trainers")
    lease_seconds: Annotated[float, Field(ge=0.5, le=3600)] = 10.0
    tick_seconds: Annotated[float, Field(ge=0.01, le=60)] = 0.2
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    client_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 20.0
    trusted_proxies: str | None = None
    url: str = "http://127.0.0.1:8765"
    token: str | None = None

    @property
    def database_file(self) -> Path | None:
        """The file of an SQLite database; None of PostgreSQL."""
        file = self.database_url.removeprefix(_SQLITE)
        return None if file == self.database_url else Path(file)

    @property
    def empty_folder(self) -> Path:
        """The working folder of every child process.

        Python, uvicorn and Ray put the working folder first on the path, so in the user's folder a package ``api`` or
        ``workers`` of the user's would be run.
        """
        return self.home / "empty"

    def child_environment(self) -> dict[str, str]:
        """The environment of a child process: this one's, with these settings and the service's packages.

        A proxy is not asked for this machine's own addresses. A user's own program must not inherit PYTHONPATH from
        here, nor the working folder.
        """
        corpora = {name: source.model_dump(mode="json") for name, source in self.corpora.items()}
        return os.environ | {
            "ETALON_HOME": str(self.home),
            "ETALON_DATABASE_URL": self.database_url,
            "ETALON_CHECKPOINTS": str(self.checkpoints),
            "ETALON_CORPORA": json.dumps(corpora),
            "ETALON_CORPORA_FOLDER": str(self.corpora_folder),
            "ETALON_TRAINERS": str(self.trainers),
            "PYTHONPATH": _with_first(os.pathsep, "PYTHONPATH", str(service_folder())),
            **{name: _with_first(",", name, *_LOOPBACK) for name in ("NO_PROXY", "no_proxy")},
        }


def _with_first(separator: str, variable: str, *items: str) -> str:
    """The list in an environment variable, with the items in front."""
    others = [item for item in os.environ.get(variable, "").split(separator) if item and item not in items]
    return separator.join([*items, *others])


def check_environment() -> None:
    """Refuse an invalid environment.

    Raises:
        BadInput: names the variable and the values it takes.
    """
    try:
        Settings()
    except (ValidationError, SettingsError) as error:
        raise BadInput(f"The environment (ETALON_…) is not valid: {error}") from error
