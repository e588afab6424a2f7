"""Ray's folder: private, short enough for Ray's sockets, and removed after a killed owner."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from workers.ray_folder import PREFIX, RayFolder

OWNER = "import sys; from workers.ray_folder import RayFolder; print(RayFolder().temp_dir, flush=True); sys.stdin.read()"
LONGEST_SESSION = "session_2026-12-01_12-00-00_123456_4194304/sockets/plasma_store"


@pytest.fixture
def parent(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, empty."""
    monkeypatch.setattr(tempfile, "tempdir", str(short_tmp))
    monkeypatch.setenv("TMPDIR", str(short_tmp))
    return short_tmp


def owner() -> tuple[subprocess.Popen[str], Path]:
    """A process that owns a folder until its input ends; what Ray would have there."""
    process = subprocess.Popen([sys.executable, "-c", OWNER], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    ray = Path(process.stdout.readline().strip())
    ray.mkdir()
    ray.chmod(0o777)
    (ray / "log").touch()
    return process, ray.parent


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_no_other_user_can_enter_and_nothing_is_left(parent: Path) -> None:
    with RayFolder() as folder:
        assert folder.temp_dir.parent.parent == parent
        assert stat.S_IMODE(folder.temp_dir.parent.stat().st_mode) == 0o700
    assert not list(parent.iterdir())


def test_the_folder_of_a_killed_owner_is_removed_and_that_of_a_living_one_is_not(parent: Path) -> None:
    (killed, left), (living, used) = owner(), owner()
    end(killed)
    try:
        with RayFolder() as folder:
            assert set(parent.iterdir()) == {used, folder.temp_dir.parent}
        assert not left.exists()
    finally:
        end(living)


def test_what_etalon_did_not_make_is_left_alone(parent: Path) -> None:
    (parent / "elsewhere").mkdir(0o700)
    (parent / "elsewhere" / "file").touch()
    (parent / f"{PREFIX}link").symlink_to(parent / "elsewhere")
    (parent / f"{PREFIX}file").touch()
    (parent / f"{PREFIX}open").mkdir()
    (parent / f"{PREFIX}open").chmod(0o777)
    before = set(parent.rglob("*"))
    RayFolder().close()
    assert set(parent.rglob("*")) == before


@pytest.mark.parametrize("folder", ["/tmp", "/var/tmp", "/scratch/jobs/1234567/temporary"])
def test_the_sockets_of_ray_have_paths_that_the_kernel_takes(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", folder)
    with RayFolder() as made:
        assert len(str(made.temp_dir / LONGEST_SESSION)) <= 103
