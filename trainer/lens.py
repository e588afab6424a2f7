"""The two lenses: how stable a training is, and how much each part of the model learns.

At a few steps (`is_due`), called points, a part of the batch passes the model once before and once after the update.
Every step gives its loss and gradient norm. Between points the logits of single members are measured as well while
these are suspicious (a probe, `trainer.symptoms`). Measurements change nothing that trains, not even its rounding, and
all numbers of a point are transferred from the device at once.

| number | meaning |
|---|---|
| gradient_norm, gradient_norm_max | before the clip: mean and maximum over the steps since the last point |
| loss_spikes | steps since the last point whose loss was far above its moving average (`trainer.symptoms`) |
| attention_logit | largest size of an unmasked product of query and key, over heads and blocks |
| expert_imbalance | load of the busiest expert over the mean load, maximum over blocks |
| MODULE.activation | RMS of what the module adds to the residual stream; of its logits for router and head |
| MODULE.change | RMS of the change of that by this update |
| MODULE.update | RMS of the update over the RMS of the weights before it |

RMS values include all blocks. The modules are those of `trainer.scaling_rules.Module`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import fsum, inf, nan, sqrt
from typing import Any

import torch
from torch import Tensor

from trainer.proxy_model import HookPoint, ProxyModel
from trainer.stack import Stack, UpdateResult
from trainer.symptoms import MemberState, StepSample, finite_or_inf

EVERY = 48
"""Steps between two points, after a few early ones: a point costs about half a step, all together under 3 %."""

DOUBLING = 32
"""Points between a step and its double, once there are that many."""

SEQUENCES = 1
"""Sequences of the batch that are measured."""

ROWS = 64
"""Rows of activations kept of each member, evenly spaced."""

SAMPLE = 1 << 14
"""Weights of a module kept of each member, evenly spaced; they determine its RMS to half a percent."""

Unread = tuple[Tensor, Tensor, Tensor | None]
"""One step on the device: losses and gradient norms [K], and the two logits [2, K], NaN for members without a probe;
None if no member had one."""


def is_due(step: int) -> bool:
    """Whether there is a point after this many updates; the same on trunk, branches and after a resumption."""
    if step < EVERY:
        return step in (1, 4, 16)
    spacing = EVERY << max(0, (step // EVERY // DOUBLING).bit_length() - 1)
    return step % spacing == 0


@dataclass(slots=True, kw_only=True)
class LensState:
    """The lenses' state of the members of a segment between steps.

    Attributes:
        members: One state for each.
        unread: Steps that are not yet added to these states.
        point: The step of the last point.
    """

    members: list[MemberState]
    unread: list[Unread] = field(default_factory=list)
    point: int = 0

    @classmethod
    def fresh(cls, members: int) -> "LensState":
        """The state before the first step."""
        return cls(members=[MemberState() for _ in range(members)])

    def select(self, indices: Sequence[int]) -> "LensState":
        """A copy for some members of the stack."""
        indices = list(indices)
        return LensState(
            members=[self.members[index].copy() for index in indices],
            unread=[
                (losses[indices], norms[indices], None if logits is None else logits[:, indices])
                for losses, norms, logits in self.unread
            ],
            point=self.point,
        )

    def saved(self) -> dict[str, Any]:
        """The content of a checkpoint."""
        members = [member.saved() for member in self.members]
        return {"members": members, "unread": self.unread, "point": self.point}

    @classmethod
    def loaded(cls, saved: dict[str, Any], device: torch.device) -> "LensState":
        """The state that `saved` returned."""
        return cls(
            members=[MemberState.loaded(member) for member in saved["members"]],
            unread=[
                (losses.to(device), norms.to(device), None if logits is None else logits.to(device))
                for losses, norms, logits in saved["unread"]
            ],
            point=saved["point"],
        )

    @classmethod
    def joined(cls, parts: Sequence["LensState"]) -> "LensState":
        """The state of several stacks at the same step as that of one."""
        return cls(
            members=[member for part in parts for member in part.members],
            unread=[_concatenated(steps) for steps in zip(*(part.unread for part in parts), strict=True)],
            point=parts[0].point,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LensReading:
    """Measurements of one member.

    Attributes:
        index: Index of the member in the stack.
        step: Updates made by then.
        values: By the names of the table above; of a probe, the two logits only.
    """

    index: int
    step: int
    values: dict[str, float]


@dataclass(slots=True, kw_only=True)
class Activations:
    """Activations of one forward pass.

    Attributes:
        values: [K, rows, columns] by point and block.
        attention_logits: The largest of each block, [K] each.
    """

    values: dict[tuple[HookPoint, int], Tensor] = field(default_factory=dict)
    attention_logits: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class BeforeUpdate:
    """Activations, and samples of each module's weights [K, ·], before an update."""

    activations: Activations
    weights: dict[str, Tensor]


class Lens:
    """Measures the members of a stack while they train."""

    def __init__(self, model: ProxyModel) -> None:
        self._model = model
        self._modules: dict[str, slice] = {}
        bounds: dict[str, list[int]] = {}
        stop = 0
        for matrix in model.matrices:
            start, stop = stop, stop + matrix.size
            bounds.setdefault(matrix.rule.kind.module, []).extend((start, stop))
        for module, found in bounds.items():
            first, last = min(found), max(found)
            self._modules[module] = slice(first, last, -(-(last - first) // SAMPLE) | 1)

    def before(self, stack: Stack, inputs: Tensor, targets: Tensor) -> BeforeUpdate:
        """Measures members before an update with this batch, if the update is a point."""
        activations = self._activations(stack.parameters, stack.balance, inputs, targets)
        weights = {name: sample.clone() for name, sample in self._weights(stack).items()}
        return BeforeUpdate(activations=activations, weights=weights)

    def record(
        self, state: LensState, stack: Stack, result: UpdateResult, inputs: Tensor, targets: Tensor
    ) -> None:
        """Records an update that is not a point, and probes members for which a probe is due.

        Args:
            state: Of these members; changed in place.
            stack: The members after the update.
            result: The update's result.
            inputs: Token ids of its batch, [sequences, context].
            targets: The tokens that follow, [sequences, context].
        """
        logits, step = None, stack.step
        probed = [index for index, member in enumerate(state.members) if member.probe_is_due(step)]
        if probed:
            logits = _no_logits(result.losses)
            for index in probed:
                state.members[index].probes += 1
            found = self._activations(stack.parameters[probed], stack.balance[probed], inputs, targets)
            largest = torch.stack(found.attention_logits).amax(0)
            logits[:, probed] = torch.stack([largest, _rms(found.values["head", 0])])
            logits[:, probed] = logits[:, probed].nan_to_num(nan=inf, posinf=inf)
        state.unread.append((result.losses, result.gradient_norms, logits))

    def read(self, state: LensState, step: int) -> list[LensReading]:
        """Adds the unread steps to the members' states.

        Args:
            state: Changed in place; without unread steps afterwards.
            step: Updates made by now.

        Returns:
            The readings of probes.
        """
        if not state.unread:
            return []
        return _read(state, step, _stacked(state).tolist())

    def point(
        self,
        state: LensState,
        stack: Stack,
        result: UpdateResult,
        inputs: Tensor,
        targets: Tensor,
        before: BeforeUpdate,
    ) -> list[LensReading]:
        """Measures the members after an update.

        Args:
            state: Of these members; changed in place, without unread steps afterwards.
            stack: The members after the update.
            result: The update's result.
            inputs: Token ids of its batch, [sequences, context].
            targets: The tokens that follow, [sequences, context].
            before: The measurements before the update.

        Returns:
            The readings of probes since the last point, then those of this point.
        """
        after = self._activations(stack.parameters, stack.balance, inputs, targets)
        names, numbers = self._numbers(before, after, self._weights(stack), result)
        state.unread.append((result.losses, result.gradient_norms, None))
        steps = _stacked(state)
        rows = torch.cat([steps.flatten(1), torch.stack(numbers, 1)], 1).tolist()
        cut = steps[0].numel()
        readings = _read(state, stack.step, [[row[i : i + 4] for i in range(0, cut, 4)] for row in rows])
        for index, (member, row) in enumerate(zip(state.members, rows, strict=True)):
            values = _combined(names, row[cut:])
            self._check(member, state.point, stack.step, values)
            values = member.close_point() | values
            readings.append(LensReading(index=index, step=stack.step, values=values))
        state.point = stack.step
        return readings

    @staticmethod
    def _check(member: MemberState, before: int, step: int, values: dict[str, float]) -> None:
        member.add_logits(step, values["attention_logit"], values["head.activation"])
        updates = {
            name.partition(".")[0]: value for name, value in values.items() if name.endswith(".update")
        }
        member.add_updates(before, step, updates)

    @torch.no_grad()
    def _activations(
        self, parameters: Tensor, balance: Tensor, inputs: Tensor, targets: Tensor
    ) -> Activations:
        """One forward pass of a part of the batch."""
        found, members = Activations(), len(parameters)

        def hook(point: HookPoint, block: int, values: Tensor) -> None:
            if point == "attention_logits":
                sizes = values.tril().abs_()
                found.attention_logits.append(sizes.view(members, -1).amax(1))
            else:
                rows = values[:, :: -(-values.shape[1] // ROWS)]
                found.values[point, block] = rows.float().contiguous()

        self._model.forward(parameters, balance, inputs[:SEQUENCES], targets[:SEQUENCES], hook=hook)
        return found

    def _weights(self, stack: Stack) -> dict[str, Tensor]:
        return {name: stack.parameters[:, sample] for name, sample in self._modules.items()}

    def _numbers(
        self, before: BeforeUpdate, after: Activations, weights: dict[str, Tensor], result: UpdateResult
    ) -> tuple[list[str], list[Tensor]]:
        """All numbers of a point, [K] each, and their names, which repeat for each block."""
        found: list[tuple[str, Tensor]] = [("attention_logit", one) for one in after.attention_logits]
        if result.loads is not None:
            busiest = result.loads.amax(2).float() * result.loads.shape[2]
            found += [("expert_imbalance", one) for one in busiest.unbind(1)]
        for points, now in _by_size(after).items():
            old = torch.stack([before.activations.values[point] for point in points])
            for kind, values in (("activation", now), ("change", now - old)):
                found += zip((f"{point}.{kind}" for point, _ in points), _rms(values), strict=True)
        for name, old in before.weights.items():
            found.append((f"{name}.update", _norm(weights[name] - old) / _norm(old)))
        return [name for name, _ in found], [number for _, number in found]


def _read(state: LensState, step: int, rows: list[list[list[float]]]) -> list[LensReading]:
    """Adds each member's steps to its state; `step` is the last of them."""
    state.unread = []
    readings = []
    for index, (member, steps) in enumerate(zip(state.members, rows, strict=True)):
        samples = [
            StepSample(step=at, loss=loss, gradient_norm=norm, attention_logit=attention, output_logit=output)
            for at, (loss, norm, attention, output) in enumerate(steps, step - len(steps) + 1)
        ]
        member.add_steps(samples)
        readings += [
            LensReading(
                index=index,
                step=one.step,
                values={"attention_logit": one.attention_logit, "head.activation": one.output_logit},
            )
            for one in samples
            if one.probed
        ]
    return readings


def _combined(names: Sequence[str], row: Sequence[float]) -> dict[str, float]:
    """One number for each name: the maximum over blocks of sizes and loads, the RMS over blocks of the others."""
    blocks: dict[str, list[float]] = {}
    for name, value in zip(names, row, strict=True):
        blocks.setdefault(name, []).append(value)
    return {
        name: max(values, key=finite_or_inf)
        if "." not in name
        else sqrt(fsum(v * v for v in values) / len(values))
        for name, values in blocks.items()
    }


def _by_size(activations: Activations) -> dict[tuple[tuple[HookPoint, int], ...], Tensor]:
    """Activations of equal size stacked, [points, K, rows, columns], by their points and blocks; for fewer kernels."""
    groups: dict[torch.Size, list[tuple[HookPoint, int]]] = {}
    for point, values in activations.values.items():
        groups.setdefault(values.shape, []).append(point)
    return {
        tuple(points): torch.stack([activations.values[point] for point in points])
        for points in groups.values()
    }


def _stacked(state: LensState) -> Tensor:
    """The unread loss, gradient norm and two logits of each member and step, [K, steps, 4]."""
    losses, norms, logits = zip(*state.unread, strict=True)
    missing = _no_logits(losses[0])
    filled = torch.stack([missing if one is None else one for one in logits])
    return torch.cat([torch.stack(losses)[:, None], torch.stack(norms)[:, None], filled], 1).permute(2, 0, 1)


def _concatenated(steps: Sequence[Unread]) -> Unread:
    """One step of several stacks as that of one."""
    losses, norms, logits = zip(*steps, strict=True)
    filled = [_no_logits(own) if one is None else one for own, one in zip(losses, logits, strict=True)]
    return torch.cat(losses), torch.cat(norms), torch.cat(filled, 1)


def _no_logits(losses: Tensor) -> Tensor:
    """NaN for the two logits, [2, K]."""
    return losses.new_full((2, len(losses)), nan)


def _norm(values: Tensor) -> Tensor:
    """Norm over the last dimension."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=-1)
    return norm


def _rms(activations: Tensor) -> Tensor:
    """RMS of each member, [..., K, rows, columns] to [..., K]."""
    return _norm(activations.flatten(-2)) / sqrt(activations.shape[-1] * activations.shape[-2])
