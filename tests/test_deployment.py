"""The compose file and the Dockerfile name only what exists."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.settings import Settings

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "docker-compose.yml"
OTHER_VARIABLES = {
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN",
    "RAY_USAGE_STATS_ENABLED",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


def commands(compose: dict[str, Any]) -> dict[str, list[str]]:
    return {name: service["command"] for name, service in compose["services"].items() if "command" in service}


def test_the_compose_file_meets_the_compose_specification() -> None:
    checker = Path(sys.executable).parent / "check-jsonschema"
    result = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", COMPOSE],
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_environment_variable_is_one_that_the_settings_read(compose: dict[str, Any]) -> None:
    known = {f"ETALON_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES

    for name, service in compose["services"].items():
        if service["image"].startswith("etalon"):
            assert set(service["environment"]) <= known, name


def test_dependencies_and_volumes_are_declared(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert set(service.get("depends_on", {})) <= set(compose["services"]), name
        for mount in service.get("volumes", []):
            assert mount.split(":")[0] in compose["volumes"], f"{name}: {mount}"


def test_nothing_is_published_beyond_loopback(compose: dict[str, Any]) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_command_exists(compose: dict[str, Any]) -> None:
    for name, command in commands(compose).items():
        program = command[0] if command[0] != "sh" else command[2].split()[0]
        folder = Path(sys.executable).parent
        assert shutil.which(program, path=f"{folder}:/bin:/usr/bin"), f"{name}: {program}"
    assert commands(compose)["api"][:3] == ["python", "-m", "api"]
    assert importlib.util.find_spec("api.__main__")
    assert importlib.util.find_spec("orchestrator.__main__")


def test_the_image_holds_every_package_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    packages = {*wheel["packages"], *wheel["force-include"]}
    copied = set(re.findall(r"^COPY (\w+) \1$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE))

    assert copied == packages


def test_the_image_owns_what_the_volumes_are_mounted_over(compose: dict[str, Any]) -> None:
    mounted = {
        mount.split(":")[1]
        for service in compose["services"].values()
        if service["image"].startswith("etalon")
        for mount in service.get("volumes", [])
    }

    dockerfile = (ROOT / "Dockerfile").read_text()
    assert mounted
    assert all(f"--owner etalon --group etalon {folder}" in dockerfile for folder in mounted)
