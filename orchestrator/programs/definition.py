"""The registration of a program: what to run, what a sweep may set, where the losses are, and how it ends."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from orchestrator.programs.declared_losses import DeclaredLosses
from orchestrator.programs.parameters import ProgramParameter
from orchestrator.programs.patterns import fault_of
from orchestrator.programs.placeholders import Template
from orchestrator.programs.presets import PRESETS, WITHOUT_PRESET
from orchestrator.programs.quantities import Bytes, Seconds
from orchestrator.spec.fields import BadField, Fraction, Integer, Number, Parameter, Strict

Text = Annotated[str, Field(max_length=4_096)]
Texts = Annotated[tuple[Text, ...], Field(max_length=500)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
ParameterName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100)]

OF_EVERY_RUN: Final = frozenset(
    {
        "learning_rate",
        "params",
        "tokens",
        "batch_tokens",
        "steps",
        "seed",
        "run_id",
        "run_folder",
        "processes",
        "report",
        "start_tokens",
        "start_step",
    }
)
"""Placeholders that have a value in every run."""

OF_A_SCHEDULE: Final = frozenset({"final_learning_rate", "warmup_steps", "decay_steps", "stable_steps"})
"""Placeholders that need ``schedule``."""

OF_A_FORK: Final = frozenset({"trunk_folder", "fork_step", "fork_steps"})
"""Placeholders that need ``fork``."""

OF_ONE_RUN: Final = frozenset({"run_folder", "trunk_folder", "run_id"})
"""Placeholders of which every run has a value of its own: a path without one would be shared by runs at the same time."""

NAMES: Final = OF_EVERY_RUN | OF_A_SCHEDULE | OF_A_FORK | {"checkpoint"}
"""All placeholders but the parameters; ``checkpoint`` is one to start from."""

OF_THE_KEEPER: Final = frozenset({"run", "report", "stop"})
"""Variables ``ETALON_…`` that are no placeholders, or another value than the placeholder's, in lower case."""

ARGUMENTS: Final = ("command.", "prefix.", "stop.", "resume.arguments.", "fork.save.", "fork.arguments.")
"""Beginnings of the fields whose texts are arguments."""

OF_THE_RATE: Final = frozenset({"learning_rate", "final_learning_rate"})
"""Placeholders from which a program can know its learning rate."""

RATE_NOT_GIVEN: Final = (
    "has {learning_rate} in no argument, variable or file: unless it reads etalon.run or ETALON_LEARNING_RATE itself, all runs of "
    "a cell train alike."
)
"""What is said of such a program, after its name."""

WITHOUT_ETALON: Final = re.compile(r"ETALON_|RAY_|PYTHON(?:PATH|HOME|SAFEPATH)$", re.IGNORECASE)
"""Variables that the service and Ray use for themselves; their values, secrets too, reach no program."""


class RenderedFile(Strict):
    """A config file made for each run: ``source`` with the dotted keys of ``set`` replaced, written to ``to``."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    source: Annotated[Text, Field(alias="from")]
    to: Text
    set: Annotated[dict[str, Parameter], Field(max_length=500)] = Field(default_factory=dict)


class ProgramSchedule(Strict):
    """The schedule that the program follows: for placeholders, forks and the law's label."""

    warmup_tokens: Annotated[Integer, Field(ge=0, le=10**18)] = 0
    decay_fraction: Fraction = 0.2
    final_fraction: Annotated[Number, Field(ge=0, lt=1)] = 0.0


class Resume(Strict):
    """How a program goes on from its own checkpoint: ``arguments`` are added if the file or folder ``when`` exists."""

    when: Text
    arguments: Texts = ()


class Fork(Strict):
    """How horizons share a trunk.

    Attributes:
        save: arguments that let the trunk save checkpoints at ``{fork_step}`` or ``{fork_steps}``.
        checkpoint: the checkpoint that it writes for ``{fork_step}``.
        arguments: added to a run that starts from ``{checkpoint}``.
    """

    save: Texts
    checkpoint: Text
    arguments: Texts


class Divergence(Strict):
    """Signs of divergence besides a loss that is not finite, or not below the first one."""

    output: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    exit_codes: Annotated[tuple[Annotated[Integer, Field(ge=1, le=255)], ...], Field(max_length=100)] = ()


class Limits(Strict):
    """Limits of one run: durations, sizes of files, and starts after a crash.

    Attributes:
        start: until the first sign of life, a line or a report.
        silence: between two signs of life.
        run: the whole run, from its first start.
        stop: from the request to end until it is killed.
        tries: starts before a run that ends with an error is failed.
        log: its output on disk.
        disk: its folder.
    """

    start: Seconds = 600.0
    silence: Seconds = 1_800.0
    run: Seconds = 86_400.0
    stop: Annotated[Seconds, Field(le=3_600)] = 25.0
    tries: Annotated[Integer, Field(ge=1, le=100)] = 3
    log: Annotated[Bytes, Field(ge=2**21)] = 64 * 2**20
    disk: Bytes | None = None


class ProgramDefinition(Strict):
    """A registered program; the fields of a registration file.

    Attributes:
        command: the argument list; elements are substituted whole, and no shell reads them.
        entry: ``package.module:function`` instead of a command, for the kind ``python``.
        folder: where the program runs, relative to the registration's file; on every node of a cluster.
        python: a virtual environment or interpreter that stands for ``python`` in ``command``; by default the service's.
        prefix: put before everything, such as ``[apptainer, exec, --nv, image.sif]``.
        launch: ``torchrun`` starts ``processes`` of it on one node.
        processes: with ``torchrun``; by default the GPUs of a run, at least one.
        environment, pass_environment: variables that are set, and that are passed on from the worker's environment.
        files: config files made for each run.
        parameters: what a sweep may set.
        model: ``reported`` takes N from the program's report if it is within 2 % of the declared one.
        schedule, losses, resume, fork, diverged, limits: see there.
        seeds: whether the program takes a seed; without, a sweep may only have one.
        stop: a command that ends the program, such as ``[docker, kill, "etalon-{run_id}"]``.
        preset: fills losses, resume and diverged as a known trainer has them.
    """

    description: Annotated[str, Field(max_length=10_000)] = ""
    command: Texts = ()
    entry: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=500)] | None = None
    folder: Text = "."
    python: Text | None = None
    prefix: Texts = ()
    launch: Literal["one", "torchrun"] = "one"
    processes: Annotated[Integer, Field(ge=1, le=1_024)] | None = None
    environment: dict[Variable, Text] = Field(default_factory=dict)
    pass_environment: Annotated[tuple[Variable, ...], Field(max_length=200)] = ()
    files: Annotated[tuple[RenderedFile, ...], Field(max_length=50)] = ()
    parameters: dict[ParameterName, ProgramParameter] = Field(default_factory=dict)
    model: Literal["declared", "reported"] = "declared"
    schedule: ProgramSchedule | None = None
    losses: DeclaredLosses = DeclaredLosses()
    resume: Resume | None = None
    fork: Fork | None = None
    diverged: Divergence = Divergence()
    limits: Limits = Limits()
    seeds: bool = True
    stop: Texts = ()
    preset: Literal["none", *PRESETS] = "none"  # type: ignore[valid-type]

    @model_validator(mode="before")
    @classmethod
    def _filled_by_preset(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        named = str(fields.get("preset"))
        if named in WITHOUT_PRESET:
            raise BadField("preset", f"{named} {WITHOUT_PRESET[named]}")
        return {**PRESETS.get(named, {}), **fields}

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (not self.command) == (self.entry is None):
            raise BadField("command", "give either command, a list of arguments, or entry, a function")
        if self.fork is not None and self.schedule is None:
            raise BadField(
                "schedule", "is missing: forks are where its decay begins, so give schedule.decay_fraction"
            )
        if self.launch == "one" and self.processes is not None:
            raise BadField("processes", "belongs to launch: torchrun")
        self._check_names()
        self._check_environment()
        self._check_templates()
        self._check_own_paths()
        for pattern in self.diverged.output:
            if (fault := fault_of(pattern)) is not None:
                raise BadField("diverged.output", fault)
        return self

    @property
    def kind(self) -> str:
        """The ``trainer.kind`` of sweeps that name this program."""
        return "python" if self.entry is not None else "command"

    @property
    def is_given_rate(self) -> bool:
        """Whether the learning rate is in an argument, a variable or a file; an entry is given every value."""
        given = (Template.parse(text, known).names for _, text, known in self.templates())
        return self.entry is not None or not OF_THE_RATE.isdisjoint(frozenset[str]().union(*given))

    @property
    def names(self) -> frozenset[str]:
        """The placeholders that have a value in every run."""
        return (
            OF_EVERY_RUN
            | frozenset(self.parameters)
            | (OF_A_SCHEDULE if self.schedule is not None else frozenset())
            | (OF_A_FORK if self.fork is not None else frozenset())
        )

    def to_digest(self) -> dict[str, Any]:
        """The fields that make another program of it: those that are given, as a later version may have further ones."""
        words: dict[str, Any] = {"description": True, "parameters": {"__all__": {"description": True}}}
        return self.model_dump(mode="json", exclude_defaults=True, exclude=words)

    def templates(self) -> Iterator[tuple[str, str, Set[str]]]:
        """Every text with placeholders: its field, the text, and the names that it may use."""
        known, at_checkpoint = self.names, self.names | {"checkpoint"}
        yield from _listed("command", self.command, known)
        yield from _listed("prefix", self.prefix, known)
        yield from _listed("stop", self.stop, known)
        for variable, text in self.environment.items():
            yield f"environment.{variable}", text, known
        for at, file in enumerate(self.files):
            yield f"files.{at}.to", file.to, known
            for key, value in file.set.items():
                if isinstance(value, str):
                    yield f"files.{at}.set.{key}", value, known
        for source in (self.losses.training, self.losses.validation):
            for name in ("jsonl", "csv", "tensorboard"):
                if hasattr(source, name):
                    yield "losses", getattr(source, name), known
        if self.resume is not None:
            yield "resume.when", self.resume.when, known
            yield from _listed("resume.arguments", self.resume.arguments, at_checkpoint)
        if self.fork is not None:
            yield from _listed("fork.save", self.fork.save, known)
            yield "fork.checkpoint", self.fork.checkpoint, known
            yield from _listed("fork.arguments", self.fork.arguments, at_checkpoint)

    def _check_names(self) -> None:
        """Refuse parameters whose variable ``ETALON_…``, in upper case, another value has."""
        taken = dict.fromkeys(NAMES | OF_THE_KEEPER, "is the name of a value of every run; take another")
        for name in self.parameters:
            if name.lower() in taken:
                raise BadField(f"parameters.{name}", taken[name.lower()])
            taken[name.lower()] = (
                f"differs from {name} in its capitals alone, and both would be the variable ETALON_{name.upper()}"
            )

    def _check_templates(self) -> None:
        for field, text, known in self.templates():
            try:
                template = Template.parse(text, known)
            except ValueError as error:
                raise BadField(field, f"{error}{self._hint(str(error))}") from error
            alone = template.stands_alone
            if alone is not None and field.startswith(ARGUMENTS):
                self._check_alone(field, alone.text)
            if field == "fork.checkpoint" and "fork_step" not in template.names:
                raise BadField(field, "must name {fork_step}: a trunk has a checkpoint for every horizon")

    def _check_alone(self, field: str, name: str) -> None:
        """A value that starts with a minus would be read as an option."""
        parameter = self.parameters.get(name)
        least = getattr(parameter, "min", 0)
        if parameter is None or (least is not None and least >= 0):
            return
        raise BadField(
            field,
            f"{{{name}}} stands alone and may be negative, which reads like an option; write --{name}={{{name}}}",
        )

    def _hint(self, message: str) -> str:
        for names, field in ((OF_A_SCHEDULE, "schedule"), (OF_A_FORK | {"checkpoint"}, "fork")):
            if any(message.startswith(f"{{{name}}} is not known") for name in names):
                return f" ({field} is missing)" if getattr(self, field) is None else ""
        return ""

    def _check_environment(self) -> None:
        for field in ("environment", "pass_environment"):
            for name in getattr(self, field):
                if WITHOUT_ETALON.match(name) and name.upper() != "PYTHONPATH":
                    raise BadField(f"{field}.{name}", "is the service's own; a program never has it")
        if "PYTHONPATH" in self.pass_environment:
            raise BadField(
                "pass_environment",
                "PYTHONPATH of the worker is the service's own; set environment.PYTHONPATH instead",
            )

    def _check_own_paths(self) -> None:
        for field, text, known in self.templates():
            is_path = field in {"resume.when", "fork.checkpoint", "losses"} or field.endswith(".to")
            if is_path and not Template.parse(text, known).names & OF_ONE_RUN:
                raise BadField(
                    field,
                    f"{text!r} is the same path for every run, and runs go on side by side: begin it with {{run_folder}}, or "
                    "name {run_id} in it",
                )


def _listed(field: str, texts: tuple[str, ...], known: Set[str]) -> Iterator[tuple[str, str, Set[str]]]:
    for at, text in enumerate(texts):
        yield f"{field}.{at}", text, known
