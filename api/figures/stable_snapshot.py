"""A sweep before its decays: the same figures, of the stable phase."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from api.figures.snapshot import FigureSnapshot, Keyed, bowls_by_point
from orchestrator.answers.stable_phase import difference, stable_law, undecayed
from orchestrator.errors import Refused
from orchestrator.knowledge import SweepKnowledge
from orchestrator.law import Law


def stable_snapshot(snapshot: FigureSnapshot) -> FigureSnapshot:
    """A sweep with the tokens and losses at its forks, and the law of those, without a prediction.

    The law is fitted at the first call for every law of the sweep, to the runs known then: those may be a few more
    than that law was fitted to.

    Returns:
        The snapshot; its note says how its optima differ from the annealed ones, or why it has no law.

    Raises:
        Refused: the sweep has no stable phase.
    """
    before = undecayed(
        SweepKnowledge(sweep=snapshot.sweep, cells=snapshot.cells, runs=snapshot.runs, prior=None)
    )
    law = None
    if snapshot.record is None or snapshot.law is None:
        note = snapshot.when_empty(
            "The law of the stable phase appears with the sweep's first law.",
            "there is no law of its stable phase",
        )
    else:
        keyed = Keyed((snapshot.record.sweep_id, snapshot.record.number), (before, snapshot.law))
        law = _stable_law(keyed)
        note = _note(snapshot, snapshot.law, law)
    fitted = law if isinstance(law, Law) else None
    return replace(
        snapshot,
        cells=before.cells,
        runs=before.runs,
        record=None,
        law=fitted,
        bowls=bowls_by_point(fitted),
        earlier={},
        note=note,
    )


def _note(snapshot: FigureSnapshot, annealed: Law, law: Law | str) -> str:
    if isinstance(law, str):
        return f"The stable phase has no law: {law}"
    sentence = difference(annealed, law, snapshot.cells).sentence
    return (
        f"{sentence} D is the tokens up to the start of the decay. The formula and all predictions are of the "
        "annealed law."
    )


@lru_cache(maxsize=64)
def _stable_law(keyed: Keyed[tuple[SweepKnowledge, Law]]) -> Law | str:
    """The law, or why there is none."""
    try:
        return stable_law(*keyed.content)
    except Refused as refusal:
        return refusal.detail
