"""A sweep as it stood before its decays: the same figures, of the stable phase."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from api.figures.numbers.snapshot import Kept, Snapshot, bowls_by_place, what_comes
from orchestrator.answers.stable_phase import difference, stable_law, undecayed
from orchestrator.knowledge import SweepKnowledge
from orchestrator.law import Law, Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class StableView:
    """The stable phase of a sweep.

    Attributes:
        snapshot: the sweep with the tokens and losses at its forks, and with the law of those; no prediction is made of it.
        note: how its optima differ from the annealed ones, or why it has no law.
    """

    snapshot: Snapshot
    note: str


def stable_view(snapshot: Snapshot) -> StableView:
    """Look at a sweep's stable phase.

    The law is fitted when somebody asks, once for every law of the sweep: to the runs known then, which may be a few
    more than that law had.

    Raises:
        Unsupported: the sweep has no stable phase.
    """
    before = undecayed(
        SweepKnowledge(sweep=snapshot.sweep, cells=snapshot.cells, runs=snapshot.runs, prior=None)
    )
    law = None
    if snapshot.record is None or snapshot.law is None:
        note = what_comes(
            snapshot,
            "The law of the stable phase appears with the sweep's first law.",
            "there is no law of its stable phase",
        )
    else:
        kept = Kept((snapshot.record.sweep_id, snapshot.record.number), (before, snapshot.law))
        law = _stable_law(kept)
        note = _note(snapshot, snapshot.law, law)
    fitted = law if isinstance(law, Law) else None
    return StableView(
        snapshot=replace(
            snapshot,
            cells=before.cells,
            runs=before.runs,
            record=None,
            law=fitted,
            bowls=bowls_by_place(fitted),
            earlier={},
        ),
        note=note,
    )


def _note(snapshot: Snapshot, annealed: Law, law: Law | str) -> str:
    if isinstance(law, str):
        return f"The stable phase has no law: {law}"
    told = difference(annealed, law, snapshot.cells).sentence
    return f"{told} D counts to where the decay begins. The formula and every prediction are of the law after it."


@lru_cache(maxsize=64)
def _stable_law(kept: Kept[tuple[SweepKnowledge, Law]]) -> Law | str:
    """The law, or why there is none."""
    try:
        return stable_law(*kept.source)
    except Refused as refusal:
        return refusal.detail
