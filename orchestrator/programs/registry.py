"""The registered programs: read from the operator's files (``ETALON_TRAINERS``) whenever they are asked for."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from orchestrator.errors import BadInput, FieldProblem
from orchestrator.programs.definition import ProgramDefinition
from orchestrator.programs.placeholders import Value
from orchestrator.spec import field_problems
from orchestrator.spec.fields import BadField
from orchestrator.spec.parsing import Form
from orchestrator.spec.yaml_reader import YamlText, add_lines

ENDINGS: Final = (".yaml", ".yml")
MOST_BYTES: Final = 2**20
"""Largest file of registrations, and largest config file."""

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""The name of a trainer."""

_OTHERS_MAY_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A registered program.

    Attributes:
        name: as sweeps name it.
        definition: its fields.
        file: where it is registered.
        digest: of what the file and its config files say, in 16 hexadecimal digits.
    """

    name: str
    definition: ProgramDefinition
    file: Path
    digest: str

    @property
    def folder(self) -> Path:
        """Where the program runs."""
        return self.file.parent / self.definition.folder

    @property
    def interpreter(self) -> Path:
        """The interpreter that stands for ``python``: of the environment it names, or this process's own."""
        if self.definition.python is None:
            return Path(sys.executable)
        named = self.file.parent / self.definition.python
        return named / "bin" / "python" if named.is_dir() else named

    @property
    def missing(self) -> tuple[str, ...]:
        """The fields ``folder`` and ``python`` whose path this machine has not, or not for this user."""
        try:
            has_folder = self.folder.is_dir()
        except OSError:
            has_folder = False
        lacks = {"folder": not has_folder, "python": shutil.which(self.interpreter) is None}
        return tuple(field for field, is_so in lacks.items() if is_so)

    def checked(self, given: Mapping[str, Any]) -> dict[str, Value]:
        """All parameters with their values, in their types.

        Raises:
            BadField: at the name of a parameter that is unknown, missing or out of its bounds.
        """
        known = self.definition.parameters
        for name in sorted(given.keys() - known.keys()):
            raise BadField(name, f"is no parameter of {self.name}; it has {', '.join(known) or 'none'}")
        values: dict[str, Value] = {}
        for name, parameter in known.items():
            value = given.get(name, parameter.default)
            if value is None:
                raise BadField(name, f"is missing; it {parameter.allowed}")
            try:
                values[name] = parameter.check(value)
            except ValueError as error:
                raise BadField(name, str(error)) from error
        return values

    def config_file(self, source: str) -> Path:
        """A config file that the registration names, relative to the program's folder."""
        return self.folder / source


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainers:
    """All registrations that can be read, and why others cannot.

    Attributes:
        registered: by name, ascending.
        faults: what is wrong, by name of the program, or by the absolute path of a file that cannot be read at all.
        place: the file or folder that was read.
    """

    registered: Mapping[str, Registration]
    faults: Mapping[str, BadInput]
    place: Path

    def get(self, name: str) -> Registration:
        """A registered program.

        Raises:
            BadInput: at ``trainer.name``: none of this name, or its registration is faulty.
        """
        if name in self.faults:
            raise BadInput.at(
                "trainer.name",
                f"the registration of {name!r} is faulty: {self.faults[name].detail.rstrip('.')}",
            )
        if name not in self.registered:
            where = f"an operator puts registrations into {self.place} (ETALON_TRAINERS)"
            raise self._unknown(name, where, [self.faults[file].detail for file in self._unread])
        return self.registered[name]

    def get_for_readers(self, name: str) -> Registration:
        """As ``get``, for requests and sweeps, whose users may not read the files: of a fault they learn the fields alone.

        Raises:
            BadInput: as ``get``.
        """
        if name in self.registered:
            return self.registered[name]
        if name in self.faults:
            problem = FieldProblem(path="trainer.name", message="its registration is faulty")
            raise BadInput(f"trainer.name: {fault_in_short(name, self.faults[name])}", fields=(problem,))
        files = ", ".join(Path(file).name for file in self._unread)
        unread = f"What cannot be used: {files}; `etalon trainer list` tells an operator why, such as that others may write a file."
        raise self._unknown(name, "an operator registers them", [unread] if files else [])

    @property
    def _unread(self) -> list[str]:
        """Paths of the files that cannot be read at all."""
        return [key for key in self.faults if os.sep in key]

    def _unknown(self, name: str, where: str, unread: Sequence[str]) -> BadInput:
        near = get_close_matches(name, self.registered, n=1)
        known = f"known are {', '.join(self.registered)}" if self.registered else f"none is: {where}"
        sentence = f"no trainer {name!r} is registered with this service"
        hint = f"the nearest is {near[0]}" if near else known
        problem = FieldProblem(path="trainer.name", message=sentence)
        return BadInput(" ".join([f"trainer.name: {sentence}; {hint}.", *unread]), fields=(problem,))


def fault_in_short(name: str, fault: BadInput) -> str:
    """A fault for readers: the fields at fault, and nothing that the file says in them."""
    paths = {problem.path.removeprefix(f"{name}.").partition(".")[0] for problem in fault.fields}
    named = ", ".join(sorted(paths & ProgramDefinition.model_fields.keys()))
    where = f" at {named}" if named else ""
    return f"The registration is faulty{where}; `etalon trainer show {name}` tells an operator why."


def read_trainers(place: Path) -> Trainers:
    """Read all registrations; none if the place does not exist.

    Args:
        place: a YAML file, or a folder of them.
    """
    registered: dict[str, Registration] = {}
    faults: dict[str, BadInput] = {}
    first: dict[str, Path] = {}
    try:
        files = _files(place)
    except OSError as error:
        faults[str(place.absolute())] = BadInput(f"{place} cannot be read: {error.strerror}.")
        files = []
    for file in files:
        try:
            text = _read(file)
            named = _named(text, file)
        except BadInput as error:
            faults[str(file)] = error
            continue
        for name, fields in named.items():
            try:
                _check_free(name, file, first)
                registered[name] = _registration(name, fields, file, text)
            except BadInput as error:
                faults[name] = error
                registered.pop(name, None)
    return Trainers(registered=dict(sorted(registered.items())), faults=faults, place=place)


def _check_free(name: str, file: Path, first: dict[str, Path]) -> None:
    if first.setdefault(name, file) != file:
        raise BadInput(f"{name!r} is registered twice: in {first[name]} and in {file}.")


def _files(place: Path) -> list[Path]:
    """The files of registrations; in a folder, without the config files that one of them names."""
    place = place.absolute()
    if not place.is_dir():
        return [place] if place.exists() else []
    found = sorted(
        file for file in place.iterdir() if file.suffix in ENDINGS and not file.name.startswith(".")
    )
    configs = {config for file in found for config in _config_files(file)}
    return [file for file in found if file.resolve() not in configs]


def _config_files(file: Path) -> set[Path]:
    """The config files that registrations of a file name, where these can be read; never the file itself."""
    try:
        text = _read(file)
        named = _named(text, file) if "files" in text else {}
    except BadInput:
        return set()
    configs = set()
    for fields in named.values():
        try:
            folder, files = fields.get("folder", "."), fields.get("files", ())
            configs |= {(file.parent / folder / each["from"]).resolve() for each in files}
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError):
            continue  # refused where it is read
    return configs - {file.resolve()}


def _read(file: Path) -> str:
    """The text of a file that nobody but its owner, this user or root, may write.

    Raises:
        BadInput: others may write it, its folder or that of a link to it, or it cannot be read.
    """
    try:
        data = _bytes(file, file.parent, *_behind_links(file))
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8 text: byte {error.start} cannot be read.") from error


def _behind_links(file: Path) -> Iterator[Path]:
    """The folders of the files that a link points to, one after another."""
    while file.is_symlink():
        file = file.parent / file.readlink()
        yield file.parent


def _bytes(file: Path, *folders: Path) -> bytes:
    """The content of a file.

    Raises:
        BadInput: others may write it or one of the folders, or it is too large.
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        for path, found in (
            (file, os.fstat(opened.fileno())),
            *((folder, folder.stat()) for folder in folders),
        ):
            if reason := _unsafe(found):
                raise BadInput(
                    f"{path} {reason}, and a user who writes it runs programs as this service. Its owner must be this "
                    f"service's user (or root), and nobody else may write it: chmod go-w {path}"
                )
        data = opened.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise BadInput(f"{file} is larger than {MOST_BYTES // 2**20} MiB.")
    return data


def _unsafe(found: os.stat_result) -> str | None:
    if found.st_uid not in {0, os.geteuid()}:
        return "belongs to another user"
    return "may be written by others" if found.st_mode & _OTHERS_MAY_WRITE else None


def _named(text: str, file: Path) -> dict[str, Any]:
    """The fields of each registration of a file.

    Raises:
        BadInput: the text is not YAML, or not a mapping of names.
    """
    try:
        fields = YamlText(text).fields
    except BadInput as error:
        raise BadInput(f"{file}: {error.detail}", fields=error.fields) from error
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise BadInput(f"{file} must be a mapping: the name of each trainer, and its fields.")
    for name in fields:
        if not NAME.fullmatch(name):
            raise BadInput(
                f"{file}: {name!r} is no name of a trainer; take letters, digits, dot, dash and underscore."
            )
    return fields


def _registration(name: str, fields: Any, file: Path, text: str) -> Registration:
    try:
        definition = ProgramDefinition.model_validate(fields)
    except ValidationError as error:
        problems = field_problems(error, REGISTRATION)
        listed = "; ".join(f"{name}.{problem.path}: {problem.message}" for problem in problems)
        refusal = BadInput(
            f"{file}: {listed}.",
            fields=tuple(
                type(problem)(path=f"{name}.{problem.path}", message=problem.message) for problem in problems
            ),
        )
        add_lines(refusal, text)
        raise refusal from error
    digest = hashlib.sha256(json.dumps([str(file.parent), definition.to_digest()], sort_keys=True).encode())
    found = Registration(name=name, definition=definition, file=file, digest="")
    for at, rendered in enumerate(definition.files):
        path = found.config_file(rendered.source)
        try:
            digest.update(_bytes(path))
        except (OSError, BadInput) as error:
            reason = (
                error.detail if isinstance(error, BadInput) else f"{path} cannot be read: {error.strerror}."
            )
            problem = FieldProblem(path=f"{name}.files.{at}.from", message=reason.rstrip("."))
            raise BadInput(f"{file}: {problem.path}: {reason}", fields=(problem,)) from error
    return Registration(name=name, definition=definition, file=file, digest=digest.hexdigest()[:16])


def _tags(loc: tuple[int | str, ...]) -> frozenset[str]:
    """Names of the members of the registration's unions."""
    match loc:
        case ("losses", "training" | "validation"):
            return frozenset({"output", "jsonl", "csv", "tensorboard"})
        case ("parameters", _):
            return frozenset({"int", "float", "choice", "text"})
    return frozenset()


REGISTRATION: Final = Form(name="the registration", model=ProgramDefinition, tags=_tags)
