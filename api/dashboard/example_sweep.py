"""A first sweep of a registered trainer, as YAML to edit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import yaml

from orchestrator.documents.trainers import ParameterDocument, TrainerDocument

SCALES: Final = ("5M", "10M", "20M")
"""N of the scales, to be replaced by those of the user's models."""

SHARES: Final = (0.25, 0.375, 0.5)
"""Where the values of each scale lie in the range of a parameter, on a logarithmic axis."""

RANGE: Final = 64
"""Largest over smallest value where a parameter has one bound or none."""


def example_sweep(trainer: TrainerDocument) -> str:
    """A whole specification of three scales with values that the trainer allows; only a text's value is left to the user."""
    sized = _sized(trainer)
    whole = {
        each.name: _value(each, 0.5)
        for each in trainer.parameters
        if each.default is None and each not in sized
    }
    named: dict[str, Any] = {"kind": trainer.kind, "name": trainer.name}
    scales = SCALES if sized else SCALES[:1]
    return "\n".join(
        [
            f"name: {_flow(f'{trainer.name} first')}",
            f"trainer: {_flow(named | ({'parameters': whole} if whole else {}))}",
            "grid:",
            "  scales:                        # params: N of each model without embeddings",
            *(f"    - {_scale(params, sized, share)}" for params, share in zip(scales, SHARES, strict=False)),
            "  tokens: [100M, 200M]",
            "  batch_tokens: [131_072]        # tokens of one optimizer step",
            "  learning_rates: {min: 2.5e-4, max: 1.6e-2, per_octave: 1}",
            "search:",
            "  strategy: law",
            "  budget: {runs: 60}",
            "target: {params: 100M, tokens: 1B, batch_tokens: 131_072}",
            "resources: {cpus_per_run: 1, gpus_per_run: 0, max_parallel: 1}",
            "",
        ]
    )


def _sized(trainer: TrainerDocument) -> list[ParameterDocument]:
    """The whole numbers without a default, which make the size of a model; all of them where each has a default."""
    whole = [parameter for parameter in trainer.parameters if parameter.type == "int"]
    return [parameter for parameter in whole if parameter.default is None] or whole


def _scale(params: str, sized: list[ParameterDocument], share: float) -> str:
    values = {parameter.name: _value(parameter, share) for parameter in sized}
    return f"{{params: {params}, with: {_flow(values)}}}" if values else f"{{params: {params}}}"


def _value(parameter: ParameterDocument, share: float) -> Any:
    """A value that is allowed, at this share of the parameter's range."""
    if parameter.values:
        return parameter.values[0]
    if parameter.type == "text":
        return ""
    low, high = _ends(parameter)
    between = low * (high / low) ** share if low > 0 else low + (high - low) * share
    if parameter.type == "float":
        return min(max(float(f"{between:.3g}"), low), high)
    step = parameter.multiple_of or 1
    nearest = round(between / step) * step
    least, most = math.ceil(low / step) * step, math.floor(high / step) * step
    return min(max(nearest, least), most)


def _ends(parameter: ParameterDocument) -> tuple[float, float]:
    least, most = parameter.min, parameter.max
    low = (
        least
        if least is not None
        else min(parameter.multiple_of or 1, most if most is not None else math.inf)
    )
    high = most if most is not None else max(low, 1) * RANGE
    return low, high


def _flow(value: str | Mapping[str, Any]) -> str:
    """A value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")
