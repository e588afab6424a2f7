"""The registered programs as the API shows them: nothing of their commands, environments or paths."""

from __future__ import annotations

from typing import Final

from orchestrator.documents.trainers import CheckDocument, ParameterDocument, TrainerDocument
from orchestrator.errors import BadInput
from orchestrator.programs.definition import ProgramDefinition
from orchestrator.programs.parameters import ProgramParameter
from orchestrator.programs.registry import Registration, Trainers
from orchestrator.store import Store

_FIELDS: Final = frozenset(ProgramDefinition.model_fields)


def trainer_documents(store: Store, trainers: Trainers, *, whole_faults: bool) -> list[TrainerDocument]:
    """The documents of all registrations, faulty ones too, by name.

    Args:
        store: has the checks.
        trainers: as they are registered now.
        whole_faults: whether faults may quote the files, as for an operator; otherwise they name fields alone.
    """
    registered = trainers.registered.values()
    checks = store.trainer_checks.of([registration.digest for registration in registered])
    documents = [trainer_document(each, checks.get(each.digest)) for each in registered]
    documents += [_faulty(name, fault, whole=whole_faults) for name, fault in trainers.faults.items()]
    return sorted(documents, key=lambda document: document.name)


def trainer_document(registration: Registration, check: CheckDocument | None) -> TrainerDocument:
    """The document of a registration with its newest check."""
    definition = registration.definition
    return TrainerDocument(
        name=registration.name,
        kind=definition.kind,
        description=definition.description,
        digest=registration.digest,
        parameters=[_parameter(name, each) for name, each in definition.parameters.items()],
        takes_seeds=definition.seeds,
        resumes=definition.resume is not None,
        forks=shares_trunks(definition, check),
        fault=None,
        check=check,
    )


def shares_trunks(definition: ProgramDefinition, check: CheckDocument | None) -> bool:
    """Whether forks are declared, and no check has found them to differ from direct runs."""
    differs = check is not None and check.forks is False
    return definition.fork is not None and not differs


def fault_in_short(name: str, fault: BadInput) -> str:
    """A fault for readers: the fields at fault, and nothing that the file says in them."""
    paths = {problem.path.removeprefix(f"{name}.").partition(".")[0] for problem in fault.fields}
    named = ", ".join(sorted(paths & _FIELDS))
    where = f" at {named}" if named else ""
    return f"The registration is faulty{where}; `etalon trainer show {name}` with an admin token says why."


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
