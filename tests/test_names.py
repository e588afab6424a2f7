"""One name, one thing: every class and every module of the source rooms has a name of its own."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("api", "benchmarks", "etalon", "orchestrator", "trainer", "workers")

MIRRORED_CLASSES = {
    "Law": "the mathematics, and what `etalon.fit` returns: the same with its runs and its documents",
    "Schedule": "the specification's, and the trainer's that carries it out",
}
"""Classes of one name on purpose, and why."""

RESOURCE = "a resource: its rows in the store, its documents, what fills them, its endpoints"
KIND = "a kind of trainer: what may be asked for, and what carries it out"

MIRRORED_MODULES = {
    "comparisons": RESOURCE,
    "entry": "one figure of the catalogue, and the entry point of a training program",
    "events": RESOURCE,
    "fits": RESOURCE,
    "laws": RESOURCE,
    "lenses": RESOURCE,
    "notices": RESOURCE,
    "predictions": RESOURCE,
    "runs": RESOURCE,
    "sweeps": RESOURCE,
    "tables": RESOURCE,
    "command": KIND,
    "trainers": RESOURCE,
    "kinds": KIND,
    "law": "the law, and the benchmark of it",
    "proxy": KIND,
    "replay": KIND,
}
"""Modules of one name on purpose, and why."""


def sources() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def repeated(places: dict[str, list[str]], mirrored: dict[str, str]) -> dict[str, list[str]]:
    return {name: found for name, found in places.items() if len(found) > 1 and name not in mirrored}


def class_places() -> dict[str, list[str]]:
    places: dict[str, list[str]] = defaultdict(list)
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    return places


def module_places() -> dict[str, list[str]]:
    places: dict[str, list[str]] = defaultdict(list)
    for path in sources():
        if path.stem not in {"__init__", "__main__"}:
            places[path.stem].append(str(path.relative_to(ROOT)))
    return places


def test_every_class_name_exists_once():
    assert repeated(class_places(), MIRRORED_CLASSES) == {}


def test_every_module_name_exists_once():
    assert repeated(module_places(), MIRRORED_MODULES) == {}


@pytest.mark.parametrize(
    ("places", "mirrored"), [(class_places, MIRRORED_CLASSES), (module_places, MIRRORED_MODULES)]
)
def test_an_exception_that_is_no_longer_needed_goes(places, mirrored):
    assert {name for name in mirrored if len(places()[name]) < 2} == set()
