"""The parametrization: how the proxies' rates, initial weights and decay scale with their size."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from orchestrator.spec.architecture import ExpertWidth
from orchestrator.spec.fields import BadField, Count, Depth, Number, Strict, Width

Rule = Literal["depth", "weight_decay", "batch", "horizon"]
RULES: Final[tuple[Rule, ...]] = get_args(Rule)

ALLOWED: Final = "must be standard, mup, or {kind: mup, base, rules, horizon_exponent}"


class BaseShape(Strict):
    """The proxy at which the learning rate applies unscaled. Missing fields are completed from the grid."""

    width: Width | None = None
    depth: Depth | None = None
    batch_tokens: Count | None = None
    tokens: Count | None = None
    expert_width: ExpertWidth | None = None


def _sorted(value: object) -> object:
    """Sorts rules and removes repeats, so that equal sets are equal specifications."""
    if isinstance(value, list | tuple) and all(rule in RULES for rule in value):
        return tuple(rule for rule in RULES if rule in value)
    return value


ScalingRules = Annotated[tuple[Rule, ...], BeforeValidator(_sorted)]
HorizonExponent = Annotated[Number, Field(ge=-1, le=0)]


class Mup(Strict):
    """Maximal update parametrization: one rate, in units of the base, for models of every width.

    ``rules`` extend it to other depths (CompleteP, arXiv 2505.01618), to weight decay that grows with width
    (microsoft/mup, MuAdamW), and to other batches and horizons (Complete(d)P, arXiv 2512.22382). ``horizon_exponent``
    replaces Complete(d)P's square root by a measured power of the horizon (arXiv 2409.19913 has −0.32).
    """

    kind: Literal["mup"] = "mup"
    base: BaseShape = BaseShape()
    rules: ScalingRules = ("weight_decay",)
    horizon_exponent: HorizonExponent | None = None

    @model_validator(mode="after")
    def _exponent_has_its_rule(self) -> Mup:
        if self.horizon_exponent is not None and "horizon" not in self.rules:
            raise BadField("horizon_exponent", "needs the rule horizon among the rules")
        return self


def _named(value: object) -> object:
    """Reads ``mup`` as its mapping without fields, and ``{kind: standard}`` as ``standard``."""
    match value:
        case "standard" | Mup():
            return value
        case {"kind": "standard", **others} if not others:
            return "standard"
        case "mup":
            return {"kind": "mup"}
        case {"kind": "mup"}:
            return value
        case {"kind": "standard", **others}:
            raise BadField(
                str(next(iter(others))), "belongs to mup; the standard parametrization has no fields"
            )
        case _:
            raise ValueError(ALLOWED)


Parametrization = Annotated[
    Annotated[Literal["standard"], Tag("standard")] | Annotated[Mup, Tag("mup")],
    Discriminator(lambda value: "standard" if value == "standard" else "mup"),
    BeforeValidator(_named),
]
