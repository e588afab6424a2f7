"""A first sweep of a registered trainer, as YAML to edit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import yaml

from orchestrator.allocation import Cluster, room_in
from orchestrator.documents.trainers import ParameterDocument, TrainerDocument
from orchestrator.spec import Resources
from orchestrator.spec.command import UNKNOWN_PARAMS

SHARES: Final = (0.25, 0.375, 0.5)
"""Where the values of each scale lie in the range of a parameter, on a logarithmic axis."""

WORKERS: Final = 2
"""Runs at once where no sweep has measured the cluster, as in the first sweep of a small machine."""

MOST_WORKERS: Final = 64

RANGE: Final = 64
"""Largest over smallest value where a parameter has one bound or none."""


def example_sweep(trainer: TrainerDocument, cluster: Cluster | None = None) -> str:
    """A specification of three scales with values that the trainer allows. N, where no check knows it, is left to the user.

    Args:
        trainer: a usable one.
        cluster: for the runs at once; None if it was never measured.
    """
    sized = _sized(trainer)
    whole = {
        each.name: _value(each, 0.5)
        for each in trainer.parameters
        if each.default is None and each not in sized
    }
    named: dict[str, Any] = {"kind": trainer.kind, "name": trainer.name}
    scales = _scales(trainer, sized)
    resources = Resources()
    room = WORKERS if cluster is None else max(1, min(room_in(cluster, resources), MOST_WORKERS))
    return "\n".join(
        [
            f"name: {_flow(f'{trainer.name} first')}",
            f"trainer: {_flow(named | ({'parameters': whole} if whole else {}))}",
            "grid:",
            f"  scales:                        # {_about_params(scales)}",
            *(f"    - {_scale(params, values)}" for params, values in scales),
            "  tokens: [100M, 200M]",
            "  batch_tokens: [131_072]        # tokens of one optimizer step",
            "  learning_rates: {min: 2.5e-4, max: 1.6e-2, per_octave: 1}",
            "search:",
            "  strategy: law",
            "  budget: {runs: 60}",
            "target: {params: 100M, tokens: 1B, batch_tokens: 131_072}",
            f"resources: {{cpus_per_run: 1, gpus_per_run: 0, max_parallel: {room}}}",
            "",
        ]
    )


def _sized(trainer: TrainerDocument) -> list[ParameterDocument]:
    """The whole numbers without a default, which make the size of a model; all of them where each has a default."""
    whole = [parameter for parameter in trainer.parameters if parameter.type == "int"]
    return [parameter for parameter in whole if parameter.default is None] or whole


def _scales(trainer: TrainerDocument, sized: list[ParameterDocument]) -> list[tuple[str, dict[str, Any]]]:
    """N and values of the scales. A check of known N gives the first; the others have the larger of the written values."""
    written = [
        (UNKNOWN_PARAMS, {parameter.name: _value(parameter, share) for parameter in sized})
        for share in (SHARES if sized else SHARES[:1])
    ]
    check = trainer.check
    names = {parameter.name for parameter in sized}
    if check is None or check.known_params is None or not names <= check.values.keys():
        return written
    checked = {name: check.values[name] for name in check.values if name in names}
    others = [scale for scale in written if scale[1] != checked]
    return [(f"{check.known_params:.0f}", checked), *others[: len(written) - 1]]


def _about_params(scales: list[tuple[str, dict[str, Any]]]) -> str:
    """A comment that fits beside the others."""
    unknown = any(params == UNKNOWN_PARAMS for params, _ in scales)
    return f"{UNKNOWN_PARAMS}: N without embeddings" if unknown else "params: N without embeddings"


def _scale(params: str, values: dict[str, Any]) -> str:
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
