"""One sentence says which paradigm to trust, or that noise hides it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.heldout.reference import Reference, reference
from orchestrator.heldout.scores import Score, by_name, scored
from orchestrator.heldout.values import Outcome
from orchestrator.heldout.verdict import verdict
from orchestrator.law import BowlStatus
from tests.orchestrator.heldout.world import EXPECTED, HeldOut


def judged(world: HeldOut, draw: int = 0) -> tuple[Score, Score, Reference]:
    outcomes = world.outcomes(draw)
    best = reference(outcomes, EXPECTED)
    assert best is not None
    scores = by_name(scored(world.contenders, outcomes, best))
    return scores["Fitting"], scores["Transfer"], best


def test_a_paradigm_that_loses_less_beyond_noise_is_trusted() -> None:
    near = HeldOut(rates={"Fitting": 4.2e-3}, noise=3e-4)
    sentence = verdict(*judged(near)).replace("\u00a0", " ")
    assert sentence.startswith("Trust Fitting here: Transfer loses 0.")
    assert "; Fitting's rate is within ×/÷ 1.0" in sentence
    far = HeldOut(rates={"Fitting": 1.2e-2}, noise=3e-4)
    assert verdict(*judged(far)).startswith("Trust Transfer here: Fitting loses ")


def test_a_difference_within_noise_is_called_so() -> None:
    even = HeldOut(rates={"Fitting": 5.8e-3}, noise=3e-3)
    assert verdict(*judged(even)).endswith("is within noise: either may be trusted here.")


@pytest.mark.parametrize(
    ("fitting", "transfer", "sentence"),
    [
        ((1,), (), "Trust Transfer here: Fitting diverged in 1 of 3 seeds."),
        ((), (0, 2), "Trust Fitting here: Transfer diverged in 2 of 3 seeds."),
        ((0,), (0,), "Trust neither paradigm here: both diverged."),
    ],
)
def test_divergence_is_told_before_any_number(
    fitting: tuple[int, ...], transfer: tuple[int, ...], sentence: str
) -> None:
    one, other, best = judged(HeldOut())

    def with_diverged(score: Score, seeds: tuple[int, ...]) -> Score:
        losses = {seed: loss for seed, loss in score.outcome.losses.items() if seed not in seeds}
        return replace(score, outcome=Outcome(losses=losses, diverged=seeds))

    assert verdict(with_diverged(one, fitting), with_diverged(other, transfer), best) == sentence


def test_who_never_ran_is_not_trusted_because_the_other_diverged() -> None:
    fitting, transfer, best = judged(HeldOut())
    lost = replace(transfer, difference=None, outcome=Outcome())
    diverged = replace(fitting, outcome=Outcome(diverged=(0, 1, 2)))
    assert verdict(diverged, lost, best) == (
        "Trust neither paradigm here: Fitting diverged in 3 of 3 seeds, and no run of Transfer completed."
    )


def test_without_numbers_nothing_is_claimed() -> None:
    fitting, transfer, best = judged(HeldOut())
    assert verdict(fitting, transfer, None).startswith("No run in standard parametrization completed")
    lost = replace(transfer, difference=None, outcome=Outcome())
    assert verdict(fitting, lost, best).endswith("so they cannot be told apart.")


def test_a_reference_without_a_minimum_is_no_reason() -> None:
    fitting, transfer, best = judged(HeldOut(rates={"Fitting": 4.2e-3}, noise=3e-4))
    edge = replace(best, status=BowlStatus.EDGE_LOW)
    assert verdict(fitting, transfer, edge).endswith(
        "though the reference bowl has no minimum among the rates that were run."
    )
