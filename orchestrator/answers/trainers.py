"""The registered programs as the API shows them; readers learn nothing of their commands, environments and paths."""

from __future__ import annotations

from typing import Final

from orchestrator.documents.trainers import CheckDocument, CheckStep, ParameterDocument, TrainerDocument
from orchestrator.errors import BadInput
from orchestrator.programs.definition import ProgramDefinition
from orchestrator.programs.parameters import ProgramParameter
from orchestrator.programs.registry import Registration, Trainers, fault_in_short
from orchestrator.store import Store

HIDDEN: Final = "…"
"""Stands for a path."""


def trainer_documents(store: Store, trainers: Trainers, *, for_operator: bool) -> list[TrainerDocument]:
    """The documents of all registrations, faulty ones too, by name.

    Args:
        store: has the checks.
        trainers: as they are registered now.
        for_operator: whether commands are shown, and faults and checks may quote files and paths; otherwise faults name
            fields alone.
    """
    registered = trainers.registered.values()
    checks = store.trainer_checks.of([registration.digest for registration in registered])
    documents = [trainer_document(each, checks.get(each.digest)) for each in registered]
    if not for_operator:
        documents = [_for_readers(document) for document in documents]
    documents += [_faulty(name, fault, whole=for_operator) for name, fault in trainers.faults.items()]
    return sorted(documents, key=lambda document: document.name)


def trainer_document(registration: Registration, check: CheckDocument | None) -> TrainerDocument:
    """The document of a registration with its newest check."""
    definition = registration.definition
    return TrainerDocument(
        name=registration.name,
        kind=definition.kind,
        description=definition.description,
        command=command_of(definition),
        digest=registration.digest,
        parameters=[_parameter(name, each) for name, each in definition.parameters.items()],
        takes_seeds=definition.seeds,
        resumes=definition.resume is not None,
        forks=shares_trunks(definition, check),
        fault=None,
        check=check,
    )


def command_of(definition: ProgramDefinition) -> list[str]:
    """The argument list as it is registered; of an entry, the module that calls it."""
    if definition.entry is not None:
        return ["python", "-m", "etalon.entry", definition.entry]
    return list(definition.command)


def shares_trunks(definition: ProgramDefinition, check: CheckDocument | None) -> bool:
    """Whether forks are declared, and the newest check, if there is one, has found one to equal a direct run."""
    return definition.fork is not None and (check is None or check.forks is True)


def for_readers(step: CheckStep) -> CheckStep:
    """A step of a check without the parts of its message that are for operators."""
    message = step.message
    for path in sorted(step.paths, key=len, reverse=True):
        message = message.replace(path, HIDDEN)
    return step.model_copy(update={"message": message, "paths": []})


def _for_readers(document: TrainerDocument) -> TrainerDocument:
    check = document.check
    if check is not None:
        check = check.model_copy(update={"steps": [for_readers(step) for step in check.steps]})
    return document.model_copy(update={"check": check, "command": None})


def _faulty(name: str, fault: BadInput, *, whole: bool) -> TrainerDocument:
    """The document of a registration that cannot be used; a file that cannot be read goes by its name, without its folder."""
    name = name.rpartition("/")[2]
    return TrainerDocument(
        name=name,
        kind=None,
        description="",
        digest=None,
        parameters=[],
        takes_seeds=False,
        resumes=False,
        forks=False,
        fault=fault.detail if whole else fault_in_short(name, fault),
        check=None,
    )


def _parameter(name: str, parameter: ProgramParameter) -> ParameterDocument:
    default = parameter.default
    return ParameterDocument.of(
        parameter,
        name=name,
        allowed=parameter.allowed.removeprefix("must be "),
        default=None if default is None else parameter.check(default),
    )
