"""Files of one sweep that outlive its processes: saved trunks, and unfinished jobs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from workers.proxy_jobs import ProxyJob
from workers.runner import Report

EXPERIMENT = "tune"
"""Ray Tune's own folder within a sweep's."""

_HEADS = TypeAdapter(tuple[ProxyJob, Report])
_LENGTH_BYTES = 8


class Checkpoints:
    """A sweep's folder in the folder of all checkpoints. Every file appears whole or not at all."""

    def __init__(self, root: Path, sweep_id: str) -> None:
        self.folder = root / sweep_id
        self._jobs = self.folder / "jobs"

    def trunk_positions(self, trunk_id: str) -> tuple[int, ...]:
        """The positions at which a trunk has been saved, in tokens, ascending."""
        return tuple(sorted(int(path.stem) for path in (self.folder / "trunks" / trunk_id).glob("*.trunk")))

    def write_trunk(self, trunk_id: str, tokens: int, state: bytes) -> None:
        """Save a trunk."""
        _write(self._trunk(trunk_id, tokens), state)

    def read_trunk(self, trunk_id: str, tokens: int) -> bytes:
        """A saved trunk.

        Raises:
            FileNotFoundError: it was not saved there, or has been removed.
        """
        return self._trunk(trunk_id, tokens).read_bytes()

    def write_job(self, job: ProxyJob, reported: Report, state: bytes) -> None:
        """Save an unfinished job with everything it has reported, which its next worker reports again."""
        head = _HEADS.dump_json((job, reported))
        _write(self._job(job), len(head).to_bytes(_LENGTH_BYTES) + head + state)

    def read_job(self, job: ProxyJob) -> tuple[Report, bytes] | None:
        """Everything that a saved job has reported, and its state; None if it was never saved, or its file is damaged."""
        try:
            data = self._job(job).read_bytes()
            head, state = _split(data)
            return _HEADS.validate_json(head)[1], state
        except (FileNotFoundError, ValidationError):
            return None

    def unfinished_jobs(self) -> list[ProxyJob]:
        """The jobs that were unfinished when their worker or driver was lost, in a fixed order."""
        found = []
        for path in sorted(self._jobs.glob("*.job")):
            try:
                with path.open("rb") as file:
                    length = int.from_bytes(file.read(_LENGTH_BYTES))
                    # A damaged length may be of more bytes than the machine has memory.
                    head = file.read(min(length, path.stat().st_size))
                found.append(_HEADS.validate_json(head)[0])
            except ValidationError:
                path.unlink()  # damaged, or written by another version: its runs are formed into new jobs
        return found

    def has_job(self, job: ProxyJob) -> bool:
        """Whether a job is saved."""
        return self._job(job).exists()

    def drop_job(self, job: ProxyJob) -> None:
        """Remove a job whose end is recorded."""
        self._job(job).unlink(missing_ok=True)

    def drop_jobs(self) -> None:
        """Remove all unfinished jobs; trunks stay, for a sweep that is extended later."""
        shutil.rmtree(self._jobs, ignore_errors=True)

    def drop_all(self) -> None:
        """Remove all files of a sweep that cannot be continued."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def drop_experiment(self) -> None:
        """Remove what Ray Tune has written, which is never read."""
        shutil.rmtree(self.folder / EXPERIMENT, ignore_errors=True)

    def _trunk(self, trunk_id: str, tokens: int) -> Path:
        return self.folder / "trunks" / trunk_id / f"{tokens}.trunk"

    def _job(self, job: ProxyJob) -> Path:
        return self._jobs / f"{job.name}.job"


def _split(data: bytes) -> tuple[bytes, bytes]:
    end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES])
    return data[_LENGTH_BYTES:end], data[end:]


def _write(path: Path, data: bytes) -> None:
    """Write to another name and rename, so that no reader sees half a file, even if this process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
