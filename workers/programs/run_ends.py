"""How a run ended: judged by its journal alone, because an exit code of 0 proves nothing."""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import dataclass
from typing import Final

from orchestrator import amounts
from orchestrator.cells import Cell
from orchestrator.programs.declared_losses import Answer, parse_answer
from orchestrator.programs.definition import ProgramDefinition
from workers.programs.journal import Ended
from workers.programs.kept import KeeperLost
from workers.programs.run_record import Curve, RunRecord

DEFAULT_SHARE: Final = 0.02
"""Share of the horizon over which training losses are averaged where there is no validation loss."""

LEAST_DECIMALS: Final = 4
"""Fewer decimals of a loss are coarser than the valley of 0.1 % that is looked for."""

CLOSE_PARAMS: Final = 0.02
"""Greatest relative difference of a reported N from the declared one."""

LIMITS: Final = {
    "start": "gave no sign of life for {} after its start (limits.start)",
    "silence": "was silent for {} (limits.silence)",
    "run": "ran for longer than {} (limits.run)",
}

NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of writing that the program itself may have brought about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The run is complete, with this loss."""

    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RateTooHigh:
    """The run diverged: it says something of its rate."""

    reason: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The run failed, and another attempt would end alike."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed:
    """The attempt ended by an error; another may not."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupted:
    """The attempt was ended from outside: the run is pending again."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unheard:
    """The program did all, but a keeper was lost with reports that its answer needs, and its checkpoint lies after them."""

    reason: str


End = Completed | RateTooHigh | Failed | Crashed | Interrupted | Unheard


def end_of(
    record: RunRecord,
    end: Ended | KeeperLost,
    cell: Cell,
    definition: ProgramDefinition,
    *,
    first_loss: float | None = None,
) -> End:
    """Judge the end of an attempt.

    Args:
        record: of the whole run.
        end: of its last attempt.
        cell: of the run.
        definition: of the program.
        first_loss: of the trunk that the run goes on from; None if it began at its first token.
    """
    if isinstance(end, KeeperLost):
        return Interrupted(reason=end.reason)
    if record.diverged is not None:
        return RateTooHigh(reason=record.diverged.reason, tokens=record.diverged.tokens or record.tokens)
    if end.cause == "exit" and end.code is not None and end.code in definition.diverged.exit_codes:
        return RateTooHigh(reason=f"it ended with exit code {end.code}", tokens=record.tokens)
    if end.code == 0 and (end.cause == "exit" or _is_asked_late(record, end, cell, definition)):
        whole = _whole(record, cell, definition, first_loss)
        if isinstance(whole, Completed | RateTooHigh) or end.cause == "exit":
            return (_unheard(whole, record, end, cell, definition) if record.is_lost else None) or whole
    if end.cause == "overrun":
        return Failed(reason=_overrun(record, cell))
    return _broken_off(end, definition)


def _is_asked_late(record: RunRecord, end: Ended, cell: Cell, definition: ProgramDefinition) -> bool:
    """Whether a program was asked to stop when it had its answer. One step before, it saves and exits with 0 as well."""
    if end.cause not in {"stop", "abandoned"}:
        return False
    return record.done is not None or _is_heard_to_the_end(record, cell, definition)


def _is_heard_to_the_end(record: RunRecord, cell: Cell, definition: ProgramDefinition) -> bool:
    return _curve(record, _answer(record, definition)).last_tokens >= int(cell.tokens)


def _unheard(
    whole: Completed | RateTooHigh | Failed,
    record: RunRecord,
    end: Ended,
    cell: Cell,
    definition: ProgramDefinition,
) -> Unheard | None:
    """What is missing of the reports, where a keeper was lost; None if all that the answer needs is there."""
    if record.done is not None and record.done.loss is not None:
        return None
    if isinstance(whole, Failed):
        return Unheard(reason=whole.reason)
    answer = _answer(record, definition)
    if not end.matched and not _is_heard_to_the_end(record, cell, definition):
        return Unheard(
            reason=f"its losses after {amounts.count(_curve(record, answer).last_tokens)} tokens were lost"
        )
    begin = cell.tokens * (1 - (answer.share or 0.0))
    for heard, first in record.holes:
        if first.tokens > begin and first.tokens - first.count * (end.interval or 0) > heard:
            return Unheard(reason=f"its losses after {amounts.count(heard)} tokens were lost")
    return None


def _broken_off(end: Ended, definition: ProgramDefinition) -> Failed | Crashed | Interrupted:
    """The end of a program that did not do all."""
    match end.cause:
        case "stop" | "abandoned":
            return Interrupted(reason="it was asked to stop")
        case "disk":
            return Failed(reason=f"its folder has grown beyond {definition.limits.disk} bytes (limits.disk)")
        case "io":
            reason = f"its folder could not be written: {os.strerror(end.errno or errno.EIO)}"
            return Crashed(reason=reason) if end.errno in NO_ROOM else Interrupted(reason=reason)
        case "run":
            return Failed(reason=_limit(end, definition))
        case "start" | "silence":
            return Crashed(reason=_limit(end, definition))
    return Crashed(reason=_exit_in_words(end))


def _whole(
    record: RunRecord, cell: Cell, definition: ProgramDefinition, first_loss: float | None
) -> Completed | RateTooHigh | Failed:
    """The end of a program that says it did all: whether it did, and whether it learned."""
    if not record.training.points and not record.validation.points:
        if record.done is not None and record.done.loss is not None:
            return Completed(loss=record.done.loss)
        return Failed(reason=_no_loss(definition))
    step = int(cell.batch_tokens) + (record.interval or record.validation.interval)
    if (missing := _not_the_tokens(record.tokens, cell, step)) is not None:
        return Failed(reason=missing)
    answer = _answer(record, definition)
    curve = _curve(record, answer)
    loss = _loss(record, curve, answer, cell, step)
    if isinstance(loss, Failed):
        return loss
    first = first_loss if first_loss is not None else _first(record, curve)
    if first is not None and loss >= first:
        return RateTooHigh(
            reason=f"the loss at the end, {amounts.loss(loss)}, is not below the first one, {amounts.loss(first)}",
            tokens=record.tokens,
        )
    return Completed(loss=loss)


def _overrun(record: RunRecord, cell: Cell) -> str:
    """The reason of a program that went on training."""
    return (
        f"it trained on, to {amounts.count(record.tokens)} of {amounts.count(cell.tokens)} tokens, and was ended: its command "
        "must use {steps} or {tokens}, and its positions be in the unit that the registration says"
    )


def _not_the_tokens(reached: int, cell: Cell, step: int) -> str | None:
    """Why the trained tokens are not those of the cell, up to a reporting interval and a batch; None if they are."""
    asked = int(cell.tokens)
    if abs(reached - asked) <= step:
        return None
    what = "ended at" if reached < asked else "trained on to"
    return f"it {what} {amounts.count(reached)} of {amounts.count(asked)} tokens"


def _answer(record: RunRecord, definition: ProgramDefinition) -> Answer:
    if definition.losses.answer is not None:
        return parse_answer(definition.losses.answer)
    if record.validation.points:
        return Answer(kind="validation")
    return Answer(kind="training", share=DEFAULT_SHARE)


def _curve(record: RunRecord, answer: Answer) -> Curve:
    return record.curve("validation" if answer.kind == "validation" else "training")


def _loss(record: RunRecord, curve: Curve, answer: Answer, cell: Cell, step: int) -> float | Failed:
    if record.done is not None and record.done.loss is not None:
        return record.done.loss
    if not curve.points:
        return Failed(reason=f"it reported no {answer.kind} loss, which is its answer (losses.answer)")
    if (late := cell.tokens - curve.last_tokens) > step:
        return Failed(
            reason=f"its last {answer.kind} loss was {amounts.count(late)} tokens before the end: let it evaluate at the "
            "end, or take another losses.answer"
        )
    mean = None if answer.share is None else curve.mean_from(cell.tokens * (1 - answer.share))
    return curve.points[-1].loss if mean is None else mean


def _first(record: RunRecord, curve: Curve) -> float | None:
    """The loss that the last one must be below; None if there is only one."""
    if len(curve.points) > 1:
        return curve.first
    return record.training.first if record.training.points and curve is not record.training else None


def _no_loss(definition: ProgramDefinition) -> str:
    sources = [source for source in (definition.losses.training, definition.losses.validation) if source]
    if not sources:
        return "it reported no loss: it must call etalon.report, or losses must say where they are found"
    looked = " or ".join(
        repr(getattr(source, "output", None) or getattr(source, "pattern", None) or source.to_order())
        for source in sources
    )
    return f"no line matched {looked}"


def _limit(end: Ended, definition: ProgramDefinition) -> str:
    seconds = getattr(definition.limits, end.cause)
    return "it " + LIMITS[end.cause].format(amounts.duration(seconds))


def _exit_in_words(end: Ended) -> str:
    if end.signal is not None:
        name = signal.Signals(end.signal).name if end.signal in set(signal.Signals) else str(end.signal)
        return f"it was ended by {name}"
    return f"it ended with exit code {end.code}"


def coarse(end: Ended) -> str | None:
    """A warning that the losses have too few decimals; None if they have enough."""
    if end.decimals is None or end.decimals >= LEAST_DECIMALS:
        return None
    return (
        f"Losses have {end.decimals} decimals; fewer than {LEAST_DECIMALS} are coarser than the valley that the law looks "
        "for: let the program print more."
    )


def wrong_size(record: RunRecord, cell: Cell, definition: ProgramDefinition) -> str | None:
    """Why the model is not the declared one; None if it is, or has not said."""
    reported = None if record.model is None else record.model.params
    if definition.model != "reported" or reported is None:
        return None
    if abs(reported / cell.params - 1.0) <= CLOSE_PARAMS:
        return None
    return (
        f"it reported {reported:.0f} parameters without embeddings, and {cell.params:.0f} are declared: more than "
        f"{CLOSE_PARAMS:.0%} apart"
    )
