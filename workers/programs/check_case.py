"""The run that a check tries in several ways: given by an operator, taken from a sweep, or small by default."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from orchestrator.cells import Cell, Cells
from orchestrator.errors import BadInput
from orchestrator.programs.definition import ProgramDefinition
from orchestrator.programs.parameters import ChoiceParameter, FloatParameter, IntParameter, ProgramParameter
from orchestrator.programs.placeholders import Template, Value, spelt
from orchestrator.programs.registry import Registration
from orchestrator.programs.run_values import RunPlace, Start, Steps, check_text, steps_of, values_of
from orchestrator.spec import Resources, SweepSpec
from orchestrator.spec.command import values_text
from orchestrator.spec.fields import BadField, Parameter

STEPS: Final = 40
"""Optimizer steps of a check's run, unless its warmup takes longer."""

WARMUPS: Final = 1.5
"""Least length of the constant-rate part with its warmup, in warmups."""

LEARNING_RATE, HIGH_RATE = 1e-3, 1e4
TOO_HIGH: Final = 1_000
"""Times the highest rate of a sweep: no program survives that."""

BATCHES: Final = tuple(2**power for power in range(10, 23))
"""Tokens of a batch that are tried in turn until all arguments are whole numbers."""

OF_THE_BATCH: Final = frozenset(
    {"batch_tokens", "tokens", "steps", "warmup_steps", "stable_steps", "decay_steps", "fork_step"}
)
"""Placeholders whose values are others for another batch."""

SEED: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest:
    """What an operator gives; None is taken from the sweep, or by default.

    Attributes:
        scale: values of parameters, as text.
        params: declared N.
        tokens, batch_tokens: of the run.
        learning_rate: peak η.
        gpus: of the run.
    """

    scale: Mapping[str, str] = field(default_factory=dict)
    params: float | None = None
    tokens: float | None = None
    batch_tokens: float | None = None
    learning_rate: float | None = None
    gpus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckCase:
    """The run that a check tries.

    Attributes:
        registration: of the program.
        parameters: values of its parameters; those of the cell go before them.
        cell: of the run.
        has_params: whether ``cell.params`` is a declared N; otherwise it stands for none.
        learning_rate: peak η at which it should train.
        high_rate: peak η that no program survives.
        resources: of one run.
        grows: whether the run may be made longer, because nobody gave its tokens.
        assumes_batch: whether nobody gave the batch, and the program is not told it.
    """

    registration: Registration
    parameters: Mapping[str, Parameter]
    cell: Cell
    has_params: bool
    learning_rate: float
    high_rate: float
    resources: Resources
    grows: bool = False
    assumes_batch: bool = False

    @property
    def steps(self) -> Steps:
        """The optimizer steps of the run."""
        return steps_of(self.registration.definition, self.cell)

    @property
    def checked_parameters(self) -> dict[str, Value]:
        """All parameters of the program with their values."""
        return dict(
            self.registration.checked({**self.parameters, **json.loads(self.cell.with_values or "{}")})
        )

    def with_horizon(self, factor: int) -> CheckCase:
        """The same with that many times the tokens."""
        return replace(self, cell=replace(self.cell, tokens=self.cell.tokens * factor))

    def values(self, place: RunPlace, start: Start, learning_rate: float) -> dict[str, Value]:
        """The value of every placeholder that has one."""
        values = values_of(
            self.registration,
            self.parameters,
            self.cell,
            place,
            learning_rate=learning_rate,
            seed=SEED,
            gpus=self.resources.gpus_per_run,
            start=start,
        )
        if not self.has_params:
            del values["params"]
        return values


def make_case(
    registration: Registration,
    request: CheckRequest,
    sweep: SweepSpec | None = None,
    cells: Cells | None = None,
) -> CheckCase:
    """The run of a check: of a sweep, its smallest scale and batch and a rate from the middle.

    Args:
        registration: of the program.
        request: goes before the sweep's and default values.
        sweep: that names the program, if one is given.
        cells: of the sweep.

    Raises:
        BadInput: a value is missing or not allowed, or an argument cannot be made of it.
    """
    if sweep is not None and cells:
        return _checked(_of_sweep(registration, request, sweep, cells))
    if request.batch_tokens is not None:
        return _checked(_case(registration, request, int(request.batch_tokens)))
    reason = ""
    for batch in BATCHES:
        try:
            return _checked(_case(registration, request, batch))
        except _WrongBatch as error:
            reason = error.detail
    raise BadInput(
        f"No batch of {BATCHES[0]} to {BATCHES[-1]} tokens makes whole numbers of the arguments of {registration.name}: give "
        f"one with --batch-tokens. For the last one, {reason}"
    )


class _WrongBatch(BadInput):
    """An argument that depends on the batch cannot be made."""


def _case(registration: Registration, request: CheckRequest, batch: int) -> CheckCase:
    rate = request.learning_rate or LEARNING_RATE
    cell = Cell(
        number=0,
        params=request.params or 1.0,
        tokens=_tokens(registration.definition, request, batch),
        batch_tokens=float(batch),
        rates=(rate,),
        with_values=values_text(_typed(registration, request.scale)),
    )
    return CheckCase(
        registration=registration,
        parameters={},
        cell=cell,
        has_params=request.params is not None,
        learning_rate=rate,
        high_rate=max(HIGH_RATE, TOO_HIGH * rate),
        resources=Resources(gpus_per_run=request.gpus or 0),
        grows=request.tokens is None,
        assumes_batch=request.batch_tokens is None and not _is_told_batch(registration.definition),
    )


def _is_told_batch(definition: ProgramDefinition) -> bool:
    return any(
        "batch_tokens" in Template.parse(text, known).names for _, text, known in definition.templates()
    )


def _of_sweep(registration: Registration, request: CheckRequest, sweep: SweepSpec, cells: Cells) -> CheckCase:
    parameters = {} if sweep.training.program is None else sweep.training.program.parameters
    ordered = sorted(cells, key=lambda cell: (cell.params, cell.batch_tokens, cell.tokens))
    scale = _typed(registration, request.scale)
    with_values = {**json.loads(ordered[0].with_values or "{}"), **scale}
    wanted = _values(registration, parameters, with_values)
    alike = (
        cell
        for cell in ordered
        if wanted is not None
        and _values(registration, parameters, json.loads(cell.with_values or "{}")) == wanted
    )
    of_sweep = next(alike, None)
    smallest = of_sweep or ordered[0]
    batch = int(request.batch_tokens or smallest.batch_tokens)
    declared = request.params or (None if of_sweep is None else of_sweep.params)
    rates = smallest.rates
    cell = replace(
        smallest,
        params=declared or 1.0,
        tokens=_tokens(registration.definition, request, batch),
        batch_tokens=float(batch),
        with_values=values_text(with_values),
    )
    resources = sweep.resources
    if request.gpus is not None:
        resources = resources.model_copy(update={"gpus_per_run": request.gpus})
    return CheckCase(
        registration=registration,
        parameters=parameters,
        cell=cell,
        has_params=declared is not None,
        learning_rate=request.learning_rate or rates[len(rates) // 2],
        high_rate=TOO_HIGH * rates[-1],
        resources=resources,
        grows=request.tokens is None,
    )


def _values(
    registration: Registration, parameters: Mapping[str, Parameter], with_values: Mapping[str, Any]
) -> dict[str, Value] | None:
    """All parameters with their values; None where one is not allowed."""
    try:
        return registration.checked({**parameters, **with_values})
    except BadField:
        return None


def _tokens(definition: ProgramDefinition, request: CheckRequest, batch: int) -> float:
    """Whole steps of a batch: as given, or as few as show a warmup, some steps at the peak rate, and a decay."""
    if request.tokens is not None:
        if request.tokens < 4 * batch:
            raise BadInput(
                f"--tokens {request.tokens:.0f} is less than four steps of {batch} tokens; take at least {4 * batch}."
            )
        return float(int(request.tokens) // batch * batch)
    schedule, steps = definition.schedule, STEPS
    if schedule is not None:
        warmup = math.ceil(schedule.warmup_tokens / batch)
        steps = max(steps, math.ceil(WARMUPS * warmup / (1 - min(schedule.decay_fraction, 0.9))))
    return float(steps * batch)


def _typed(registration: Registration, scale: Mapping[str, str]) -> dict[str, Any]:
    """The values of ``--scale`` in their types; unknown names stay for ``Registration.checked``."""
    known = registration.definition.parameters
    return {name: _value(known[name], text) if name in known else text for name, text in scale.items()}


def _value(parameter: ProgramParameter, text: str) -> Parameter:
    if isinstance(parameter, ChoiceParameter):
        return next((value for value in parameter.values if spelt(value) == text), text)
    if isinstance(parameter, IntParameter | FloatParameter):
        for number in (int, float):
            with suppress(ValueError):
                return number(text)
    return text


def _checked(case: CheckCase) -> CheckCase:
    """Refuse a case whose arguments cannot be made.

    Raises:
        BadInput: names the parameter, or the argument.
    """
    registration, definition = case.registration, case.registration.definition
    given = {**case.parameters, **json.loads(case.cell.with_values or "{}")}
    missing = [
        f"{name}, which {parameter.allowed}"
        for name, parameter in definition.parameters.items()
        if parameter.default is None and name not in given
    ]
    if missing:
        raise BadInput(f"--scale must give {'; and '.join(missing)}. Write --scale NAME=VALUE,NAME=VALUE.")
    try:
        registration.checked(given)
    except BadField as error:
        raise BadInput(f"--scale: {error.path} {error}.") from error
    steps = case.steps
    if definition.schedule is not None and steps.fork < max(1, steps.warmup):
        raise BadInput(
            f"--tokens: {steps.total} steps decay before the warmup of {steps.warmup} steps has ended; take more tokens."
        )
    place = RunPlace(run_id="0" * 32, folder=Path("/run"), trunk_folder=Path("/trunk"))
    values = case.values(place, Start(checkpoint="/trunk/checkpoint"), case.learning_rate)
    for name, text, known in definition.templates():
        template = Template.parse(text, known)
        if "params" in template.names and not case.has_params:
            raise BadInput(f"--params is missing: {name} of {registration.name} needs {{params}}.")
        for part in template.parts:
            if isinstance(part, str):
                continue
            try:
                part.evaluate(values)
            except BadInput as error:
                refusal = _WrongBatch if part.names & OF_THE_BATCH else BadInput
                raise refusal(f"{name} of {registration.name} cannot be made: {error.detail}") from error
        try:
            check_text(name, template, values)
        except BadInput as error:
            refusal = _WrongBatch if template.names & OF_THE_BATCH else BadInput
            raise refusal(f"{name} of {registration.name} cannot be made: {error.detail}") from error
    return case
