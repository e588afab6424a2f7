"""The layers of a proxy: dense, or a mixture of experts."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from orchestrator.spec.fields import BadField, Integer, Number, Strict

FEEDFORWARD_RATIO: Final = 4
"""Width of the feed-forward layer, or of the experts that one token meets, over the width of the model."""

EXPERT_STEP: Final = 8
"""Widths of experts, and of models with experts, are multiples of this: the grouped matrix product requires it."""

BALANCE_RATES: Final = {"bias": 1e-3, "loss": 1e-2}
"""How strongly the load of experts is balanced: step of the bias (arXiv 2408.15664, section 4.1), weight of the loss
(arXiv 2101.03961, section 2.2)."""

MOST_EXPERTS: Final = 1_023
"""Limit of PyTorch's grouped matrix product on a GPU."""

ExpertCount = Annotated[Integer, Field(ge=2, le=MOST_EXPERTS)]
ExpertWidth = Annotated[Integer, Field(ge=EXPERT_STEP, le=1_048_576, multiple_of=EXPERT_STEP)]


class Dense(Strict):
    """Every token uses every parameter."""

    kind: Literal["dense"] = "dense"
    qk_norm: bool = True

    @property
    def counted(self) -> Literal["params"]:
        """The column of parameters that the law uses as N."""
        return "params"


class MixtureOfExperts(Strict):
    """A router sends each token to ``top_k`` of the experts; shared experts see every token.

    ``params`` is the count that the law uses as N. ``balance`` keeps the experts' loads equal: by a bias on the router's
    choice, without gradient (arXiv 2408.15664), or by an auxiliary loss.
    """

    kind: Literal["moe"]
    experts: ExpertCount
    top_k: Annotated[Integer, Field(ge=1, le=MOST_EXPERTS)]
    expert_width: ExpertWidth | None = None
    shared_experts: Annotated[Integer, Field(ge=0, le=MOST_EXPERTS)] = 0
    balance: Literal["bias", "loss"] = "bias"
    balance_rate: Annotated[Number, Field(gt=0, le=1)] | None = None
    qk_norm: bool = True
    params: Literal["active", "total"] = "active"

    @model_validator(mode="after")
    def _top_k_is_among_the_experts(self) -> MixtureOfExperts:
        if self.top_k > self.experts:
            raise BadField("top_k", f"{self.top_k} is more than the {self.experts} experts there are")
        return self

    @property
    def load_balance_rate(self) -> float:
        """``balance_rate``, or the default of its kind of balance."""
        return BALANCE_RATES[self.balance] if self.balance_rate is None else self.balance_rate

    @property
    def counted(self) -> Literal["params_active", "params_total"]:
        """The column of parameters that the law uses as N."""
        return "params_total" if self.params == "total" else "params_active"

    def expert_width_at(self, width: int) -> int:
        """Width of an expert in a model of this width. By default a token meets as many parameters as in a dense model."""
        if self.expert_width is not None:
            return self.expert_width
        share = FEEDFORWARD_RATIO * width // (self.top_k + self.shared_experts)
        return max(EXPERT_STEP, share // EXPERT_STEP * EXPERT_STEP)


def kind_or(default: str) -> Any:
    """A discriminator by ``kind``, with a default where the field is missing."""

    def kind_of(value: object) -> object:
        return value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", default)

    return Discriminator(kind_of)  # refuses a kind that is not text as an unknown one


Architecture = Annotated[
    Annotated[Dense, Tag("dense")] | Annotated[MixtureOfExperts, Tag("moe")], kind_or("dense")
]
