"""Settings of every process, read from the environment (``ETALON_…``) and nowhere else."""

from __future__ import annotations

from codecs import getincrementaldecoder
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import platformdirs
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from orchestrator.errors import BadInput

_HEAD_BYTES: Final = 2**16


class CorpusSource(BaseModel):
    """A corpus registered by the operator.

    Attributes:
        path: a file of UTF-8 text, or of token ids (``.bin``), readable for the API and every worker.
        dtype: type of the token ids; required for ``.bin``.
        vocab_size: one more than the largest token id; required for ``.bin``.
        heldout_tokens: number of ids at the end of a ``.bin`` that are never trained on; a sixteenth if None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
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


class Settings(BaseSettings):
    """Settings of every process; ``Settings()`` reads the environment.

    Attributes:
        home: folder of all state on this machine.
        database_url: ``sqlite:///FILE`` or ``postgresql://…``; by default a file in ``home``.
        ray_address: ``host:port`` of the Ray cluster; None starts a local one.
        checkpoints: folder of trunks and checkpoints; in a cluster, shared by all nodes.
        corpora: registered corpora by name, as JSON: ``{"c4": {"path": "/data/c4.bin", "dtype": "uint16",
            "vocab_size": 50304}, "novels": "/data/novels.txt"}``. ``stdlib`` always exists.
        corpora_folder: where ``etalon corpus prepare`` writes corpora, by name; in a cluster, shared by the API and
            all nodes.
        lease_seconds: how long a process may be silent before another takes over.
        tick_seconds: pause between two reads of the database by the orchestrator.
        url, token: the service's address and the bearer token, for the command line.
    """

    model_config = SettingsConfigDict(env_prefix="ETALON_", env_ignore_empty=True, frozen=True)

    home: Path = Field(default_factory=lambda: platformdirs.user_data_path("etalon"))
    database_url: str = Field(default_factory=lambda data: f"sqlite:///{data['home'] / 'etalon.db'}")
    ray_address: str | None = None
    checkpoints: Path = Field(default_factory=lambda data: data["home"] / "checkpoints")
    corpora: dict[str, Annotated[CorpusSource, BeforeValidator(_as_source)]] = {}
    corpora_folder: Path = Field(default_factory=lambda data: data["home"] / "corpora")
    lease_seconds: Annotated[float, Field(ge=0.5, le=3600)] = 10.0
    tick_seconds: Annotated[float, Field(ge=0.01, le=60)] = 0.2
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    url: str = "http://127.0.0.1:8765"
    token: str | None = None


def check_environment() -> None:
    """Refuse an invalid environment.

    Raises:
        BadInput: names the variable and the values it takes.
    """
    try:
        Settings()
    except (ValidationError, SettingsError) as error:
        raise BadInput(f"The environment (ETALON_…) is not valid: {error}") from error
