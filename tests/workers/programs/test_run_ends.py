"""How a run's end is judged: by its journal, because an exit code of 0 proves nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.cells import Cell
from orchestrator.programs.definition import ProgramDefinition
from workers.programs.journal import Cause, Diverged, Done, Ended, Entry, Measured, ModelSize, Saved, Started
from workers.programs.kept import KeeperLost
from workers.programs.run_ends import (
    Completed,
    Crashed,
    Failed,
    Interrupted,
    RateTooHigh,
    Unheard,
    coarse,
    end_of,
    wrong_size,
)
from workers.programs.run_record import RunRecord

CELL = Cell(number=0, params=1e6, tokens=1000, batch_tokens=10, rates=(1e-3,))
STARTED = Started(pid=1, keeper=2, attempt=1, start_tokens=0, at=0.0)
ENDED = Ended(
    code=0,
    signal=None,
    cause="exit",
    seconds=1.0,
    decimals=4,
    matched=9,
    left=0,
    tokens=1000,
    interval=100,
    at=1.0,
)


AGAIN = replace(STARTED, keeper=3, attempt=2)
"""The start of another attempt; without an end before it, a keeper was lost."""


def training(*losses: float, step: int = 100) -> list[Entry]:
    return [Measured(kind="training", tokens=step * (at + 1), loss=loss) for at, loss in enumerate(losses)]


def validation(tokens: int, loss: float) -> Measured:
    return Measured(kind="validation", tokens=tokens, loss=loss)


GOOD = training(*(5.0 - 0.1 * at for at in range(10)))


def program(**fields: Any) -> ProgramDefinition:
    return ProgramDefinition.model_validate({"command": ["python", "train.py"], **fields})


def judged(
    *entries: Entry, ended: Ended | KeeperLost = ENDED, first: float | None = None, **fields: Any
) -> object:
    record = RunRecord.of([STARTED, *entries, *([ended] if isinstance(ended, Ended) else [])])
    return end_of(record, ended, CELL, program(**fields), first_loss=first)


def test_the_answer_is_the_last_validation_loss_or_the_mean_of_the_last_training_losses() -> None:
    assert judged(*GOOD) == Completed(loss=4.1)
    assert judged(*GOOD, validation(1000, 4.2)) == Completed(loss=4.2)
    assert judged(*GOOD, losses={"answer": "training.mean(0.2)"}) == Completed(loss=pytest.approx(4.15))
    assert judged(*GOOD, validation(1000, 4.2), losses={"answer": "training.last"}) == Completed(loss=4.1)
    assert judged(*GOOD, Done(loss=4.0)) == Completed(loss=4.0)
    assert judged(Done(loss=4.0)) == Completed(loss=4.0)


def test_a_thinned_point_weighs_as_much_as_the_losses_in_it() -> None:
    points = [
        *GOOD[:9],
        Measured(kind="training", tokens=990, loss=4.0, count=9),
        Measured(kind="training", tokens=1000, loss=5.0, count=1),
    ]
    end = judged(*points, losses={"answer": "training.mean(0.02)"})
    assert end == Completed(loss=pytest.approx(4.1))


@pytest.mark.parametrize(
    ("entries", "ended", "reason"),
    [
        (training(5.0, 4.9, 4.8), ENDED, "last training loss was 700 tokens before the end"),
        (training(5.0, 4.9, 4.8), replace(ENDED, tokens=300), "ended at 300 of 1 k tokens"),
        (
            training(*[5.0 - 0.01 * at for at in range(13)]),
            replace(ENDED, tokens=1300),
            "trained on to 1.3 k of 1 k",
        ),
        ([], replace(ENDED, tokens=None), "reported no loss"),
        ([*GOOD, validation(700, 4.0)], ENDED, "let it evaluate at the end"),
    ],
)
def test_exit_code_0_alone_proves_nothing(entries: list[Entry], ended: Ended, reason: str) -> None:
    end = judged(*entries, ended=ended)
    assert isinstance(end, Failed)
    assert reason in end.reason.replace("\u00a0", " ")


def test_one_reporting_interval_and_one_batch_short_is_whole() -> None:
    assert judged(*GOOD[:9], ended=replace(ENDED, tokens=900)) == Completed(loss=pytest.approx(4.2))
    short = training(*(5.0 - 0.1 * at for at in range(9)), step=98)
    assert isinstance(judged(*short, ended=replace(ENDED, tokens=889)), Failed)


def test_a_pattern_without_a_match_is_named() -> None:
    end = judged(ended=replace(ENDED, tokens=None), losses={"training": {"output": "iter {step}: {value}"}})
    assert isinstance(end, Failed)
    assert "no line matched 'iter {step}: {value}'" in end.reason


@pytest.mark.parametrize(
    "entries",
    [
        training(*[5.5452] * 10),
        [*training(*[5.0] * 9), Measured(kind="training", tokens=1000, loss=7.0)],
        [validation(10, 5.5), *GOOD, validation(1000, 5.5)],
    ],
)
def test_a_dead_network_is_divergence(entries: list[Entry]) -> None:
    end = judged(*entries)
    assert isinstance(end, RateTooHigh)
    assert "not below the first one" in end.reason


def test_a_fork_is_compared_with_the_first_loss_of_its_trunk() -> None:
    late = [
        Measured(kind="training", tokens=950, loss=4.0),
        Measured(kind="training", tokens=1000, loss=4.05),
    ]
    ended = replace(ENDED, interval=50)
    assert judged(*late, ended=ended, first=9.0) == Completed(loss=4.05)
    assert isinstance(judged(*late, ended=ended, first=3.0), RateTooHigh)


@pytest.mark.parametrize(
    ("entries", "ended", "fields", "tokens"),
    [
        (
            [*GOOD, Diverged(reason="loss is nan", tokens=500)],
            replace(ENDED, cause="diverged", code=None),
            {},
            500,
        ),
        ([*GOOD, Diverged(reason="loss is nan", tokens=500)], ENDED, {}, 500),
        (GOOD, replace(ENDED, code=42), {"diverged": {"exit_codes": [42]}}, 1000),
    ],
)
def test_divergence_says_something_of_the_rate(
    entries: list[Entry], ended: Ended, fields: dict[str, Any], tokens: int
) -> None:
    end = judged(*entries, ended=ended, **fields)
    assert isinstance(end, RateTooHigh)
    assert end.tokens == tokens


def test_a_resumed_run_that_does_not_diverge_again_is_whole() -> None:
    record = RunRecord.of(
        [STARTED, *GOOD[:3], Diverged(reason="loss is nan", tokens=300), STARTED, *GOOD, ENDED]
    )
    assert end_of(record, ENDED, CELL, program()) == Completed(loss=pytest.approx(4.1))


@pytest.mark.parametrize(
    ("ended", "kind", "reason"),
    [
        (replace(ENDED, code=3), Crashed, "exit code 3"),
        (replace(ENDED, code=None, signal=9), Crashed, "ended by SIGKILL"),
        (replace(ENDED, code=None, signal=11), Crashed, "ended by SIGSEGV"),
        (
            replace(ENDED, code=None, signal=9, cause="start"),
            Crashed,
            "for 10 min after its start (limits.start)",
        ),
        (replace(ENDED, code=None, signal=9, cause="silence"), Crashed, "silent for 30 min (limits.silence)"),
        (replace(ENDED, code=None, signal=9, cause="run"), Failed, "longer than 1 d"),
        (replace(ENDED, code=None, signal=9, cause="disk"), Failed, "limits.disk"),
        (replace(ENDED, code=None, signal=9, cause="io", errno=28), Crashed, "No space left on device"),
        (replace(ENDED, code=None, signal=9, cause="io", errno=116), Interrupted, "Stale file handle"),
        (replace(ENDED, code=None, signal=15, cause="stop"), Interrupted, "asked to stop"),
        (replace(ENDED, code=0, cause="stop", tokens=500), Interrupted, "asked to stop"),
        (replace(ENDED, code=None, signal=9, cause="abandoned"), Interrupted, "asked to stop"),
        (replace(ENDED, code=1, cause="stop", tokens=500), Interrupted, "asked to stop"),
        (replace(ENDED, code=1, cause="abandoned", tokens=500), Interrupted, "asked to stop"),
        (replace(ENDED, code=1, cause="silence", tokens=500), Crashed, "limits.silence"),
        (KeeperLost(reason="The keeper hung.", ended=2), Interrupted, "The keeper hung."),
    ],
)
def test_ends_before_the_end_are_told_apart(ended: Ended | KeeperLost, kind: type, reason: str) -> None:
    end = judged(*GOOD[:5], ended=ended, diverged={"exit_codes": [1]})
    assert isinstance(end, kind)
    assert reason in getattr(end, "reason").replace("\u00a0", " ")  # noqa: B009


def test_a_program_that_had_done_all_when_it_was_asked_to_stop_is_whole() -> None:
    stopped = replace(ENDED, cause="stop")
    assert judged(*GOOD, ended=stopped) == Completed(loss=pytest.approx(4.1))
    assert judged(*GOOD[:9], Done(), ended=replace(stopped, tokens=900)) == Completed(loss=pytest.approx(4.2))
    assert judged(*GOOD[:9], Done(loss=4.1), ended=replace(stopped, tokens=900)) == Completed(loss=4.1)


@pytest.mark.parametrize("cause", ["stop", "abandoned"])
@pytest.mark.parametrize(
    "entries", [GOOD[:9], training(*[4.0] * 99, step=10), [*GOOD[:9], validation(900, 4.1)]]
)
def test_a_program_that_was_stopped_within_its_last_reporting_interval_is_not_whole(
    cause: Cause, entries: list[Entry]
) -> None:
    assert isinstance(judged(*entries, ended=replace(ENDED, cause=cause, tokens=900)), Interrupted)
    trained_on = replace(ENDED, cause=cause)
    assert isinstance(judged(*entries, ended=trained_on, losses={"answer": "validation.last"}), Interrupted)


def test_a_resumed_program_that_had_no_more_to_report_is_whole() -> None:
    """Stopped after its last report, it goes on to its end without another one, as it does undisturbed."""
    stopped = replace(ENDED, cause="stop", tokens=900)
    silent = replace(ENDED, tokens=None, interval=None, matched=0)
    record = RunRecord.of([STARTED, *GOOD[:9], stopped, AGAIN, silent])
    assert end_of(record, silent, CELL, program()) == Completed(loss=pytest.approx(4.2))


@pytest.mark.parametrize("start_tokens", [0, 500])
def test_an_attempt_that_goes_back_takes_back_what_earlier_ones_said_of_later_positions(
    start_tokens: int,
) -> None:
    crashed = [STARTED, *GOOD, validation(500, 4.6), validation(1000, 4.2), replace(ENDED, code=1)]
    again = replace(AGAIN, start_tokens=start_tokens)
    repeated = [Measured(kind="training", tokens=tokens, loss=4.5) for tokens in range(510, 600, 10)]
    short = replace(ENDED, tokens=590, interval=10)
    record = RunRecord.of([*crashed, again, *repeated, short])
    assert record.tokens == 590
    assert record.validation.points == [validation(500, 4.6)]
    end = end_of(record, short, CELL, program())
    assert isinstance(end, Failed)
    assert "ended at 590 of" in end.reason
    unheard = RunRecord.of([*crashed, again, replace(short, matched=0)])
    assert isinstance(end_of(unheard, replace(short, matched=0), CELL, program()), Failed)


def test_losses_of_few_decimals_are_named() -> None:
    assert coarse(ENDED) is None
    assert coarse(replace(ENDED, decimals=None)) is None
    assert "3 decimals" in str(coarse(replace(ENDED, decimals=3)))


def test_a_model_of_another_size_is_named_with_both_numbers() -> None:
    reported = program(model="reported")
    near = RunRecord.of([ModelSize(params=1.019e6)])
    far = RunRecord.of([ModelSize(params=1.03e6)])
    assert wrong_size(near, CELL, reported) is None
    assert wrong_size(RunRecord(), CELL, reported) is None
    assert wrong_size(far, CELL, program()) is None
    assert "1030000" in str(wrong_size(far, CELL, reported))
    assert "1000000" in str(wrong_size(far, CELL, reported))


def test_positions_seen_again_replace_the_later_ones() -> None:
    record = RunRecord.of(
        [
            STARTED,
            *training(5.0, 4.9, 4.8, 4.7),
            Saved(path="a", tokens=200),
            STARTED,
            *training(5.0, 4.9)[1:],
        ]
    )
    assert [point.tokens for point in record.training.points] == [100, 200]
    assert record.saved_last == Saved(path="a", tokens=200)


@pytest.mark.parametrize(
    ("late", "ended", "is_whole"),
    [
        ([Measured(kind="training", tokens=990, loss=4.1), GOOD[-1]], replace(ENDED, interval=10), False),
        ([Measured(kind="training", tokens=990, loss=4.1, count=9)], replace(ENDED, interval=10), True),
        ([Measured(kind="training", tokens=950, loss=4.1), GOOD[-1]], replace(ENDED, interval=10), True),
        ([], replace(ENDED, matched=0), False),
        ([GOOD[-1], replace(AGAIN, attempt=3)], replace(ENDED, matched=0), True),
    ],
)
def test_a_run_whose_answer_a_lost_keeper_took_with_it_is_not_complete(
    late: list[Entry], ended: Ended, is_whole: bool
) -> None:
    end = judged(*GOOD[:9], AGAIN, *late, ended=ended, losses={"answer": "training.mean(0.02)"})
    assert isinstance(end, Completed if is_whole else Unheard)
