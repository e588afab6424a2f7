"""Where things are and how the processes are set: read from the environment (``ETALON_…``), nowhere else."""

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
    """A corpus that the operator registered.

    Attributes:
        path: a file of UTF-8 text, or of token ids (``.bin``), that the API and every worker see there.
        dtype: how token ids are stored; needed for ``.bin`` only.
        vocab_size: one more than the largest token id; needed for ``.bin`` only.
        heldout_tokens: of a ``.bin``, how many at its end are never trained on; one part in 16 if None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    dtype: Literal["uint16", "uint32"] | None = None
    vocab_size: Annotated[int, Field(ge=2)] | None = None
    heldout_tokens: Annotated[int, Field(ge=1)] | None = None

    def unreadable(self) -> str | None:
        """Why the corpus cannot be read, as far as its first bytes tell; None where it can."""
        if self.path.suffix == ".bin" and (self.dtype is None or self.vocab_size is None):
            return f"{self.path} holds token ids and is registered without their dtype and vocab_size"
        if self.path.suffix != ".bin" and self.heldout_tokens is not None:
            return f"heldout_tokens counts ids of a .bin file, and {self.path} is text"
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
    """Settings of every process of one Etalon; ``Settings()`` reads the environment.

    Attributes:
        home: folder of everything that is kept on this machine.
        database_url: ``sqlite:///FILE`` or ``postgresql://…``; by default a file in ``home``.
        ray_address: ``host:port`` of the Ray cluster; None starts a local one.
        checkpoints: folder of trunks and checkpoints; in a cluster, one that every node sees.
        corpora: registered corpora by name, as JSON: ``{"c4": {"path": "/data/c4.bin", "dtype": "uint16",
            "vocab_size": 50304}, "novels": "/data/novels.txt"}``. ``stdlib`` is always there.
        corpora_folder: where ``etalon corpus prepare`` leaves corpora, each found by its name; in a cluster, a
            folder that the API and every node see.
        lease_seconds: how long a process may be silent before another takes over its work.
        tick_seconds: pause between two looks of the orchestrator at the database.
        url, token: where the command line finds the service, and what it shows there.
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
    """Refuse an environment that cannot be read.

    Raises:
        BadInput: which variable is wrong, and what it takes.
    """
    try:
        Settings()
    except (ValidationError, SettingsError) as error:
        raise BadInput(f"The environment (ETALON_…) is not valid: {error}") from error
