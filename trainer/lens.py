"""The two lenses: how stable a training is, and how much each part of the model learns.

At a few steps (`is_due`) a small part of the batch goes forward once before and once after the update. All steps
give their loss and the norm of their gradient anyhow. Both passes are on the side: nothing that trains is touched,
random or rounded differently, and all numbers of a point leave the device together.

| number | meaning |
|---|---|
| gradient_norm, gradient_norm_max | of the steps since the last point, before the clip: their mean and the largest |
| loss_spikes | steps since then whose loss was far above its moving average (`trainer.symptoms`) |
| attention_logit | largest size of a visible product of query and key, over heads and blocks |
| expert_imbalance | load of the busiest expert over the mean load, the largest over blocks |
| MODULE.activation | RMS of what the module adds to the residual stream; of its logits for router and head |
| MODULE.change | RMS of the difference that this update made to that |
| MODULE.update | RMS of the update over the RMS of the weights before it |

Over the blocks, RMS again. The modules are those of `trainer.rules.Module`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import fsum, inf, nan, sqrt
from typing import Any

import torch
from torch import Tensor

from trainer.model import Model, Place
from trainer.stack import Stack, Step
from trainer.symptoms import Glance, Track, number

EVERY = 48
"""Steps between two points, after a few early ones: a point costs about half a step, all together under 3 %."""

DOUBLING = 32
"""Points between a step and its double, once there are that many."""

SEQUENCES = 1
"""Sequences of the batch that go forward."""

ROWS = 64
"""Rows of activations kept of each member, at even steps."""

SAMPLE = 1 << 14
"""Weights of a module kept of each member, at even steps: its RMS is then known to half a percent."""


def is_due(step: int) -> bool:
    """Whether there is a point after this many updates: so on the trunk, on branches and after a resumption alike."""
    if step < EVERY:
        return step in (1, 4, 16)
    spacing = EVERY << max(0, (step // EVERY // DOUBLING).bit_length() - 1)
    return step % spacing == 0


@dataclass(slots=True, kw_only=True)
class Watched:
    """What the lenses remember of the members of a line.

    Attributes:
        tracks: Of each member.
        unread: Of each step that is still on the device only: losses and gradient norms [K], and the two logits
            of those looked at closely, [2, K], or None where there is nobody.
        point: The step of the last point.
    """

    tracks: list[Track]
    unread: list[tuple[Tensor, Tensor, Tensor | None]] = field(default_factory=list)
    point: int = 0

    @classmethod
    def fresh(cls, members: int) -> "Watched":
        """Nothing seen yet."""
        return cls(tracks=[Track() for _ in range(members)])

    def select(self, places: Sequence[int]) -> "Watched":
        """A copy for the members at these places."""
        places = list(places)
        return Watched(
            tracks=[self.tracks[place].copy() for place in places],
            unread=[
                (losses[places], norms[places], None if logits is None else logits[:, places])
                for losses, norms, logits in self.unread
            ],
            point=self.point,
        )

    def saved(self) -> dict[str, Any]:
        """As tensors and plain values."""
        tracks = [track.saved() for track in self.tracks]
        return {"tracks": tracks, "unread": self.unread, "point": self.point}

    @classmethod
    def loaded(cls, saved: dict[str, Any], device: torch.device) -> "Watched":
        """What `saved` described."""
        return cls(
            tracks=[Track.loaded(track) for track in saved["tracks"]],
            unread=[
                (losses.to(device), norms.to(device), None if logits is None else logits.to(device))
                for losses, norms, logits in saved["unread"]
            ],
            point=saved["point"],
        )

    @classmethod
    def joined(cls, parts: Sequence["Watched"]) -> "Watched":
        """Members at the same step as one."""
        return cls(
            tracks=[track for part in parts for track in part.tracks],
            unread=[_side_by_side(steps) for steps in zip(*(part.unread for part in parts), strict=True)],
            point=parts[0].point,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen of one member.

    Attributes:
        place: Its place in the stack.
        step: Updates made by then.
        values: By the names of the table above; the two logits alone where it was a closer look between points.
    """

    place: int
    step: int
    values: dict[str, float]


@dataclass(slots=True, kw_only=True)
class Sight:
    """What passed during one forward pass.

    Attributes:
        activations: [K, rows, columns] by place and block.
        attention_logits: The largest of each block, [K] each.
    """

    activations: dict[tuple[Place, int], Tensor] = field(default_factory=dict)
    attention_logits: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What there was before an update: activations, and a sample of each module's weights [K, ·]."""

    sight: Sight
    weights: dict[str, Tensor]


class Lens:
    """Looks at the members of a stack while they train."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._modules: dict[str, slice] = {}
        places: dict[str, list[int]] = {}
        stop = 0
        for matrix in model.matrices:
            start, stop = stop, stop + matrix.size
            places.setdefault(matrix.rule.row.module, []).extend((start, stop))
        for module, found in places.items():
            first, last = min(found), max(found)
            self._modules[module] = slice(first, last, -(-(last - first) // SAMPLE) | 1)

    def before(self, stack: Stack, inputs: Tensor, targets: Tensor) -> Before:
        """Look at members that are about to be updated with this batch."""
        sight = self._look(stack.parameters, stack.balance, inputs, targets)
        return Before(sight=sight, weights={name: one.clone() for name, one in self._weights(stack).items()})

    def note(self, watched: Watched, stack: Stack, told: Step, inputs: Tensor, targets: Tensor) -> None:
        """Take note of an update that is no point; look closely at those members that gave reason to.

        Args:
            watched: What is known of them; grows.
            stack: The members after the update.
            told: What the update told.
            inputs: Token ids of its batch, [sequences, context].
            targets: The tokens that follow, [sequences, context].
        """
        logits, step = None, stack.step
        close = [place for place, track in enumerate(watched.tracks) if track.watches(step)]
        if close:
            logits = _nobody_looked(told.losses)
            for place in close:
                watched.tracks[place].close += 1
            sight = self._look(stack.parameters[close], stack.balance[close], inputs, targets)
            largest = torch.stack(sight.attention_logits).amax(0)
            logits[:, close] = torch.stack([largest, _rms(sight.activations["head", 0])])
            logits[:, close] = logits[:, close].nan_to_num(nan=inf, posinf=inf)
        watched.unread.append((told.losses, told.gradient_norms, logits))

    def read(self, watched: Watched, step: int) -> list[Look]:
        """Bring what is still on the device to the tracks.

        Args:
            watched: What is known; nothing in it is unread afterwards.
            step: Updates made by now.

        Returns:
            What was seen of members looked at closely.
        """
        if not watched.unread:
            return []
        return _read(watched, step, _stacked(watched).tolist())

    def point(
        self, watched: Watched, stack: Stack, told: Step, inputs: Tensor, targets: Tensor, before: Before
    ) -> list[Look]:
        """Look at the members after an update.

        Args:
            watched: What is known of them; nothing in it is unread afterwards.
            stack: The members after the update.
            told: What the update told.
            inputs: Token ids of its batch, [sequences, context].
            targets: The tokens that follow, [sequences, context].
            before: What `before` saw.

        Returns:
            What was seen since the last point, and last the point of each member.
        """
        after = self._look(stack.parameters, stack.balance, inputs, targets)
        names, numbers = self._measured(before, after, self._weights(stack), told)
        watched.unread.append((told.losses, told.gradient_norms, None))
        steps = _stacked(watched)
        rows = torch.cat([steps.flatten(1), torch.stack(numbers, 1)], 1).tolist()
        cut = steps[0].numel()
        looks = _read(watched, stack.step, [[row[i : i + 4] for i in range(0, cut, 4)] for row in rows])
        for place, (track, row) in enumerate(zip(watched.tracks, rows, strict=True)):
            values = _combined(names, row[cut:])
            self._judge(track, watched.point, stack.step, values)
            looks.append(Look(place=place, step=stack.step, values=track.close_point() | values))
        watched.point = stack.step
        return looks

    @staticmethod
    def _judge(track: Track, before: int, step: int, values: dict[str, float]) -> None:
        track.look(step, values["attention_logit"], values["head.activation"])
        updates = {
            name.partition(".")[0]: value for name, value in values.items() if name.endswith(".update")
        }
        track.weigh(before, step, updates)

    @torch.no_grad()
    def _look(self, parameters: Tensor, balance: Tensor, inputs: Tensor, targets: Tensor) -> Sight:
        """One forward pass of a part of the batch."""
        sight, members = Sight(), len(parameters)

        def watch(place: Place, block: int, passing: Tensor) -> None:
            if place == "attention_logits":
                sizes = passing.tril().abs_()
                sight.attention_logits.append(sizes.view(members, -1).amax(1))
            else:
                sight.activations[place, block] = (
                    passing[:, :: -(-passing.shape[1] // ROWS)].float().contiguous()
                )

        self._model.forward(parameters, balance, inputs[:SEQUENCES], targets[:SEQUENCES], watch=watch)
        return sight

    def _weights(self, stack: Stack) -> dict[str, Tensor]:
        return {name: stack.parameters[:, one] for name, one in self._modules.items()}

    def _measured(
        self, before: Before, after: Sight, weights: dict[str, Tensor], told: Step
    ) -> tuple[list[str], list[Tensor]]:
        """All numbers of a point, [K] each; a name comes once for each block."""
        found: list[tuple[str, Tensor]] = [("attention_logit", one) for one in after.attention_logits]
        if told.loads is not None:
            busiest = told.loads.amax(2).float() * told.loads.shape[2]
            found += [("expert_imbalance", one) for one in busiest.unbind(1)]
        for places, now in _alike(after).items():
            old = torch.stack([before.sight.activations[place] for place in places])
            for kind, values in (("activation", now), ("change", now - old)):
                found += zip((f"{place}.{kind}" for place, _ in places), _rms(values), strict=True)
        for name, old in before.weights.items():
            found.append((f"{name}.update", _norm(weights[name] - old) / _norm(old)))
        return [name for name, _ in found], [number for _, number in found]


def _read(watched: Watched, step: int, rows: list[list[list[float]]]) -> list[Look]:
    """Give each member's track its steps, the last of which is `step`."""
    watched.unread = []
    looks = []
    for place, (track, steps) in enumerate(zip(watched.tracks, rows, strict=True)):
        glances = [
            Glance(step=at, loss=loss, gradient_norm=norm, attention_logit=attention, output_logit=output)
            for at, (loss, norm, attention, output) in enumerate(steps, step - len(steps) + 1)
        ]
        track.read(glances)
        looks += [
            Look(
                place=place,
                step=one.step,
                values={"attention_logit": one.attention_logit, "head.activation": one.output_logit},
            )
            for one in glances
            if one.looked
        ]
    return looks


def _combined(names: Sequence[str], row: Sequence[float]) -> dict[str, float]:
    """One number of each name: over the blocks the largest of sizes and loads, the RMS of the rest."""
    blocks: dict[str, list[float]] = {}
    for name, value in zip(names, row, strict=True):
        blocks.setdefault(name, []).append(value)
    return {
        name: max(values, key=number) if "." not in name else sqrt(fsum(v * v for v in values) / len(values))
        for name, values in blocks.items()
    }


def _alike(sight: Sight) -> dict[tuple[tuple[Place, int], ...], Tensor]:
    """Activations of one size as one, [places, K, rows, columns], by their places: few products instead of many."""
    groups: dict[torch.Size, list[tuple[Place, int]]] = {}
    for place, values in sight.activations.items():
        groups.setdefault(values.shape, []).append(place)
    return {
        tuple(places): torch.stack([sight.activations[place] for place in places])
        for places in groups.values()
    }


def _stacked(watched: Watched) -> Tensor:
    """What is unread: of each member and step its loss, gradient norm and two logits, [K, steps, 4]."""
    losses, norms, logits = zip(*watched.unread, strict=True)
    nobody = _nobody_looked(losses[0])
    looked = torch.stack([nobody if one is None else one for one in logits])
    return torch.cat([torch.stack(losses)[:, None], torch.stack(norms)[:, None], looked], 1).permute(2, 0, 1)


def _side_by_side(
    steps: Sequence[tuple[Tensor, Tensor, Tensor | None]],
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One step of several stacks as that of one."""
    losses, norms, logits = zip(*steps, strict=True)
    looked = [_nobody_looked(own) if one is None else one for own, one in zip(losses, logits, strict=True)]
    return torch.cat(losses), torch.cat(norms), torch.cat(looked, 1)


def _nobody_looked(losses: Tensor) -> Tensor:
    """In place of the two logits [2, K]."""
    return losses.new_full((2, len(losses)), nan)


def _norm(values: Tensor) -> Tensor:
    """Over the last dimension."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=-1)
    return norm


def _rms(activations: Tensor) -> Tensor:
    """RMS of each member, [..., K, rows, columns] to [..., K]."""
    return _norm(activations.flatten(-2)) / sqrt(activations.shape[-1] * activations.shape[-2])
