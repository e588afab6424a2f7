"""Where the losses of a program are found: patterns on its output, or files that it writes anyhow."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Self

from pydantic import Discriminator, Field, Tag, model_validator

from orchestrator.programs.patterns import expanded, fault_of
from orchestrator.spec.fields import BadField, Count, Strict

POSITIONS: Final = ("step", "tokens", "samples")
MOST_PATTERN: Final = 1_000


class OutputSource(Strict):
    """Lines of the output: a short form, or a ``pattern`` with named groups, searched anywhere in a line.

    ``tokens_per_sample`` is the length of a sequence, where lines count samples.
    """

    output: Annotated[str, Field(min_length=1, max_length=MOST_PATTERN)] | None = None
    pattern: Annotated[str, Field(min_length=1, max_length=MOST_PATTERN)] | None = None
    tokens_per_sample: Count | None = None

    @model_validator(mode="after")
    def _is_one_pattern(self) -> Self:
        field = "pattern" if self.output is None else "output"
        if (self.output is None) == (self.pattern is None):
            raise BadField(field, "give either output, a short form, or pattern, a regular expression")
        written = str(self.output if self.pattern is None else self.pattern)
        try:
            fault = fault_of(written, short=self.pattern is None)
        except ValueError as error:
            raise BadField(field, str(error)) from error
        if fault is not None:
            raise BadField(field, fault)
        groups = self.groups
        if len([name for name in POSITIONS if name in groups]) > 1:
            raise BadField(field, "may say one of step, tokens and samples, not several")
        if "samples" in groups and self.tokens_per_sample is None:
            raise BadField("tokens_per_sample", "is missing: with {samples}, give the tokens of one sample")
        return self

    @property
    def regex(self) -> str:
        """The regular expression, with a group ``value`` or one of the positions."""
        return self.pattern if self.pattern is not None else expanded(str(self.output))

    @property
    def groups(self) -> frozenset[str]:
        """The names of the groups."""
        return frozenset(re.compile(self.regex).groupindex)

    def to_order(self) -> dict[str, Any]:
        """The source as the keeper takes it (``workers.programs.order``)."""
        return {"output": self.regex, "tokens_per_sample": self.tokens_per_sample}


class _FileSource(Strict):
    """A file in which each entry has a loss and a position."""

    loss: Annotated[str, Field(min_length=1, max_length=200)]
    step: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    tokens: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    @model_validator(mode="after")
    def _has_one_position(self) -> Self:
        if (self.step is None) == (self.tokens is None):
            raise BadField("step", "give either step or tokens: the field that says how far the training was")
        return self


class JsonLinesSource(_FileSource):
    """A file of JSON lines; ``jsonl`` is its path, ``loss`` and the position are fields, dotted if nested."""

    jsonl: Annotated[str, Field(min_length=1, max_length=1_000)]

    def to_order(self) -> dict[str, Any]:
        """As ``OutputSource.to_order``."""
        return self.model_dump(exclude_none=True)


class CsvSource(_FileSource):
    """A CSV file with a header; ``loss`` and the position are columns."""

    csv: Annotated[str, Field(min_length=1, max_length=1_000)]

    def to_order(self) -> dict[str, Any]:
        """As ``OutputSource.to_order``."""
        return self.model_dump(exclude_none=True)


class TensorBoardSource(Strict):
    """The event files of a folder; ``tag`` names the loss, and its step is the position."""

    tensorboard: Annotated[str, Field(min_length=1, max_length=1_000)]
    tag: Annotated[str, Field(min_length=1, max_length=200)]

    def to_order(self) -> dict[str, Any]:
        """As ``OutputSource.to_order``."""
        return self.model_dump()


def _source_kind(value: Any) -> str:
    names = value if isinstance(value, dict) else getattr(type(value), "model_fields", ())
    return next((name for name in ("jsonl", "csv", "tensorboard") if name in names), "output")


LossSource = Annotated[
    Annotated[OutputSource, Tag("output")]
    | Annotated[JsonLinesSource, Tag("jsonl")]
    | Annotated[CsvSource, Tag("csv")]
    | Annotated[TensorBoardSource, Tag("tensorboard")],
    Discriminator(_source_kind),
]


class Answer(Strict):
    """Which loss is a run's result.

    Attributes:
        kind: ``training`` or ``validation``.
        share: mean over this last share of the horizon; None takes the last loss.
    """

    kind: str
    share: float | None = None


_ANSWER: Final = re.compile(r"(training|validation)\.(?:last|mean\(\s*([0-9.]+)\s*\))")


def parse_answer(text: str) -> Answer:
    """Read ``validation.last`` or ``training.mean(0.02)``.

    Raises:
        ValueError: it is neither; a clause for people.
    """
    found = _ANSWER.fullmatch(text.strip())
    try:
        share = None if found is None or found[2] is None else float(found[2])
    except ValueError:
        found, share = None, None
    if found is None or not (share is None or 0 < share <= 0.5):
        raise ValueError(
            f"{text!r} must be validation.last, training.last, validation.mean(X) or training.mean(X), the mean over the "
            "last share X of the tokens, at most 0.5"
        )
    return Answer(kind=found[1], share=share)


class DeclaredLosses(Strict):
    """Where losses are found. Without sources, the program reports them itself (``etalon.report``).

    Attributes:
        position: lines that say how far the training is, for lines of losses that do not.
        answer: the result; by default the last validation loss, or else the mean of the last 2 % of the training losses.
    """

    training: LossSource | None = None
    validation: LossSource | None = None
    position: OutputSource | None = None
    answer: Annotated[str, Field(max_length=100)] | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for name in ("training", "validation"):
            source = getattr(self, name)
            if isinstance(source, OutputSource):
                if "value" not in source.groups:
                    raise BadField(name, "has no {value}, the loss itself")
                if not source.groups & set(POSITIONS) and self.position is None:
                    raise BadField(
                        name,
                        "has neither {step} nor {tokens}; add one, or losses.position for the lines that say it",
                    )
        if self.position is not None and not self.position.groups & set(POSITIONS):
            raise BadField("position", "has none of {step}, {tokens} and {samples}")
        if self.answer is not None:
            try:
                parse_answer(self.answer)
            except ValueError as error:
                raise BadField("answer", str(error)) from error
        return self
