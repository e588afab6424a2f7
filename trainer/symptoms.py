"""Symptoms of an unstable training: which numbers of a member pass their thresholds, and which of them first.

| symptom | passes if | source |
|---|---|---|
| attention | an attention logit is above `ATTENTION_LOGIT` in size | Gemma 2 caps them there (arXiv 2408.00118); their growth as a sign: arXiv 2302.05442, 2309.14322 |
| output | the RMS of the output logits is above `OUTPUT_LOGIT` | Gemma 2 caps every single one there; their growth as a sign: arXiv 2204.02311, 2309.14322 |
| update | one update is above `UPDATE` times the weights it changes | measured: proxies at their best rates stay below 0.05 after a warm-up |
| gradient | its norm is above `GRADIENT_RISE` times its median | arXiv 2501.06842 calls an entry a spike from 50 times its mean on; a norm averages over many entries |
| spike | the loss is `SPIKE` standard deviations above its moving average | the spike score of OLMo 2 (arXiv 2501.00656); spikes of the loss: arXiv 2204.02311 |

All of this is plain arithmetic on one member's numbers, so the result does not depend on the rest of its stack.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from math import fsum, inf, isfinite, isnan, nan, sqrt
from statistics import median
from typing import Any, Literal

SymptomKind = Literal["attention", "output", "update", "gradient", "spike"]

ATTENTION_LOGIT = 50.0
"""Size of an attention logit above which a softmax attends to one token and has hardly any gradient for others."""

OUTPUT_LOGIT = 30.0
"""RMS of the output logits above which the model is almost certain of nearly every token."""

UPDATE = 0.3
"""RMS of an update over the RMS of a module's weights above which a few updates erase what was learned."""

GRADIENT_RISE = 10.0
"""Gradient norm over its median of the last `WINDOW` steps."""

SPIKE = 7.0
"""Standard deviations of the loss above its moving average."""

WINDOW = 128
"""Steps of a median; a symptom that ended longer ago does not explain a divergence."""

SETTLED = 32
"""Steps before medians and moving averages are used."""

MEMORY = 32.0
"""Steps of the exponential averages of the loss and of its variance."""

SUSPICIOUS = 0.7
"""Share of a threshold from which on a member is probed between points."""

PROBES, STEPS_PER_PROBE = 4, 128
"""Probes that a member may have at first, and steps of training for each further one, which bound their cost."""

PROBE_SPACING = 4
"""Steps between two probes."""

_LOGITS = ("attention", "output")

_SENTENCES = {
    "attention": "attention logits passed {threshold:g} {when}",
    "output": "the output logits' RMS passed {threshold:g} {when}",
    "update": "one update was {value:.2g} times as large as the {module} weights {when}",
    "gradient": "the gradient norm rose {value:.0f}-fold over its median {when}",
    "spike": "the loss jumped {value:.0f} standard deviations above its average {when}",
}
_OVERFLOWS = {
    "gradient": "the gradient norm was not finite",
    "update": "the update of the {module} weights overflowed float32",
}
_THRESHOLDS: dict[SymptomKind, float] = {
    "attention": ATTENTION_LOGIT,
    "output": OUTPUT_LOGIT,
    "update": UPDATE,
    "gradient": GRADIENT_RISE,
    "spike": SPIKE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """A number that passed its threshold.

    Attributes:
        kind: The number.
        before: The last measured step before it passed.
        step: The first step measured above its threshold.
        last: The last step measured above its threshold.
        value: The number in the units of its threshold, infinite if it was not finite: at `step`, but for a gradient
            the largest up to `last`.
        peak: The step of that value.
        module: For an update, the module where it was largest.
    """

    kind: SymptomKind
    before: int
    step: int
    last: int
    value: float
    peak: int
    module: str = ""

    @property
    def severity(self) -> float:
        """The value over its threshold."""
        return self.value / _THRESHOLDS[self.kind]

    def __str__(self) -> str:
        if not isfinite(self.value) and self.kind in _OVERFLOWS:
            return f"{_OVERFLOWS[self.kind]} {self._when(self.peak, self.peak)}".format(module=self.module)
        first = self.before + 1 if self.kind in _LOGITS else self.step
        return _SENTENCES[self.kind].format(
            threshold=_THRESHOLDS[self.kind],
            value=self.value,
            module=self.module,
            when=self._when(first, self.peak),
        )

    def _when(self, first: int, last: int) -> str:
        return f"at step {last}" if first >= last else f"between steps {first} and {last}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSample:
    """The numbers of one step of one member.

    Attributes:
        step: Updates made with this one.
        loss: Before the update, nats per token.
        gradient_norm: Before the clip.
        attention_logit: The largest after the update; NaN if not measured.
        output_logit: RMS of the output logits after the update; NaN if not measured.
    """

    step: int
    loss: float
    gradient_norm: float
    attention_logit: float = nan
    output_logit: float = nan

    @property
    def probed(self) -> bool:
        """Whether the logits were measured."""
        return not isnan(self.attention_logit)


@dataclass(slots=True, kw_only=True)
class MemberState:
    """The lenses' state of one member between steps.

    Attributes:
        step: The last step added.
        measured: The last step with logits.
        norms: Gradient norms of the last `WINDOW` steps.
        mean, variance: Exponential averages of the loss.
        since: Gradient norms since the last point.
        spikes: Spikes of the loss since the last point.
        probes: Number of probes so far.
        suspicious: Whether a number of the last steps added is near its threshold.
        lost: Whether a loss was not finite; later steps are ignored.
        symptoms: The latest of each kind.
    """

    step: int = 0
    measured: int = 0
    norms: list[float] = field(default_factory=list)
    mean: float = 0.0
    variance: float = 0.0
    since: list[float] = field(default_factory=list)
    spikes: int = 0
    probes: int = 0
    suspicious: bool = False
    lost: bool = False
    symptoms: dict[str, Symptom] = field(default_factory=dict)

    def copy(self) -> "MemberState":
        """An independent copy."""
        return replace(self, norms=list(self.norms), since=list(self.since), symptoms=dict(self.symptoms))

    def probe_is_due(self, step: int) -> bool:
        """Whether to measure the logits at this step: the member is suspicious, and they are not known to be large."""
        if not self.suspicious or step % PROBE_SPACING:
            return False
        known = any(one.last == self.measured for kind, one in self.symptoms.items() if kind in _LOGITS)
        return not known and self.probes < PROBES + step // STEPS_PER_PROBE

    def add_steps(self, samples: Sequence[StepSample]) -> None:
        """Adds consecutive steps."""
        usual = median(self.norms) if len(self.norms) >= SETTLED else inf
        shares = [self._add_step(sample, usual) for sample in samples]
        self.norms = self.norms[-WINDOW:]
        self.suspicious = max(shares, default=0.0) > SUSPICIOUS

    def _add_step(self, sample: StepSample, usual: float) -> float:
        """Adds one step; returns the largest ratio of a number to its threshold."""
        self.lost |= not isfinite(sample.loss)
        if self.lost:
            return 0.0
        spread = sqrt(self.variance) if self.step >= SETTLED else inf
        deviations = (sample.loss - self.mean) / spread if spread else 0.0
        step, before = sample.step, self.step
        shares = [
            self._check("gradient", before, step, sample.gradient_norm / usual if usual else 0.0),
            self._check("spike", before, step, deviations),
        ]
        self.spikes += deviations > SPIKE
        self._average(sample.loss)
        self.since.append(sample.gradient_norm)
        if isfinite(sample.gradient_norm):
            self.norms.append(sample.gradient_norm)
        if sample.probed:
            shares.append(self.add_logits(step, sample.attention_logit, sample.output_logit))
        self.step = step
        return max(shares)

    def add_logits(self, step: int, attention_logit: float, output_logit: float) -> float:
        """Adds the logits after a step; returns the larger ratio of the two to their thresholds."""
        before, self.measured = self.measured, step
        share = max(
            self._check("attention", before, step, attention_logit),
            self._check("output", before, step, output_logit),
        )
        self.suspicious |= share > SUSPICIOUS
        return share

    def add_updates(self, before: int, step: int, updates: dict[str, float]) -> None:
        """Adds the relative size of an update.

        Args:
            before: The last step with such a measurement.
            step: This step.
            updates: RMS of the update over RMS of the weights, by module.
        """
        module = max(updates, key=lambda name: finite_or_inf(updates[name]))
        self._check("update", before, step, updates[module], module)

    def _check(self, kind: SymptomKind, before: int, step: int, value: float, module: str = "") -> float:
        value = 0.0 if self.lost else finite_or_inf(value)
        if value > _THRESHOLDS[kind]:
            known = self.symptoms.get(kind)
            now = Symptom(
                kind=kind, before=before, step=step, last=step, value=value, peak=step, module=module
            )
            if known is None or step - known.last > WINDOW:
                self.symptoms[kind] = now
            elif kind == "gradient" and value > known.value:
                self.symptoms[kind] = replace(known, last=step, value=value, peak=step)
            else:
                self.symptoms[kind] = replace(known, last=step)
        return value / _THRESHOLDS[kind]

    def _average(self, loss: float) -> None:
        """Incremental exponential mean and variance (T. Finch, 2009, section 9)."""
        if not self.step:
            self.mean = loss
            return
        change = (loss - self.mean) / MEMORY
        self.variance = (1.0 - 1.0 / MEMORY) * (self.variance + (loss - self.mean) * change)
        self.mean += change

    def close_point(self) -> dict[str, float]:
        """Gradient norms and spikes of the steps since the last point, which are then reset."""
        norms, spikes = self.since or [nan], self.spikes
        self.since, self.spikes = [], 0
        return {
            "gradient_norm": fsum(norms) / len(norms) if all(map(isfinite, norms)) else nan,
            "gradient_norm_max": max(norms, key=finite_or_inf),
            "loss_spikes": float(spikes),
        }

    def first_symptom(self, step: int) -> Symptom | None:
        """The earliest recent symptom before a divergence at a step, of several at once the most severe.

        A large update is a direct effect of the learning rate, and counts only if there is no other symptom.
        """
        recent = [symptom for symptom in self.symptoms.values() if symptom.last >= step - WINDOW]
        return min(recent, key=lambda one: (one.kind == "update", one.step, -one.severity), default=None)

    def saved(self) -> dict[str, Any]:
        """The content of a checkpoint."""
        return asdict(self)

    @classmethod
    def loaded(cls, saved: dict[str, Any]) -> "MemberState":
        """The state that `saved` returned."""
        symptoms = {kind: Symptom(**fields) for kind, fields in saved["symptoms"].items()}
        return cls(**{**saved, "symptoms": symptoms})


def finite_or_inf(value: float) -> float:
    """The value; infinity, which is above every threshold, if it is not finite."""
    return value if isfinite(value) else inf
