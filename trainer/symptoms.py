"""What a member's numbers tell of its health while it trains, and which of them went wrong first.

| symptom | passes when | source |
|---|---|---|
| attention | an attention logit is above `ATTENTION_LOGIT` in size | Gemma 2 caps them there (arXiv 2408.00118); their growth as a sign: arXiv 2302.05442, 2309.14322 |
| output | the RMS of the output logits is above `OUTPUT_LOGIT` | Gemma 2 caps every single one there; their growth as a sign: arXiv 2204.02311, 2309.14322 |
| update | one update is above `UPDATE` times the weights it changes | measured: proxies at their best rates stay below 0.05 after a warm-up |
| gradient | its norm is above `GRADIENT_RISE` times its median | arXiv 2501.06842 calls an entry a spike from 50 times its mean on; a norm averages over many entries |
| spike | the loss is `SPIKE` standard deviations above its moving average | the spike score of OLMo 2 (arXiv 2501.00656); spikes of the loss: arXiv 2204.02311 |

Plain numbers in, plain numbers out: one member's fate depends on its own numbers alone, however it was stacked.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from math import fsum, inf, isfinite, isnan, nan, sqrt
from statistics import median
from typing import Any, Literal

Kind = Literal["attention", "output", "update", "gradient", "spike"]

ATTENTION_LOGIT = 50.0
"""Size of an attention logit from which on a softmax sees one token and hardly learns from others."""

OUTPUT_LOGIT = 30.0
"""RMS of output logits from which on the model is all but certain of nearly every token."""

UPDATE = 0.3
"""Update RMS over weight RMS of a module: a few such updates leave nothing of what was learned."""

GRADIENT_RISE = 10.0
"""Gradient norm over its median of the last `WINDOW` steps."""

SPIKE = 7.0
"""Standard deviations of the loss above its moving average."""

WINDOW = 128
"""Steps behind a median; a symptom older than these at the end is no explanation of it."""

SETTLED = 32
"""Steps before which neither a median nor a moving average means much."""

MEMORY = 32.0
"""Steps of the exponential average of the loss and of its variance."""

SUSPICIOUS = 0.7
"""Share of a threshold from which on a member is watched closely."""

CLOSE, CLOSE_EVERY = 4, 128
"""Closer looks that may be taken at once, and steps of training that earn one more: a bound on the time spent."""

APART = 4
"""Steps between two closer looks."""

_LOGITS = ("attention", "output")

_PHRASES = {
    "attention": "attention logits passed {threshold:g} {when}",
    "output": "the output logits' RMS passed {threshold:g} {when}",
    "update": "one update was {value:.2g} times as large as the {module} weights {when}",
    "gradient": "the gradient norm rose {value:.0f}-fold over its median {when}",
    "spike": "the loss jumped {value:.0f} standard deviations above its average {when}",
}
_OVERFLOWS = {
    "gradient": "the gradient norm was not finite",
    "update": "the update of the {module} weights left float32",
}
_THRESHOLDS: dict[Kind, float] = {
    "attention": ATTENTION_LOGIT,
    "output": OUTPUT_LOGIT,
    "update": UPDATE,
    "gradient": GRADIENT_RISE,
    "spike": SPIKE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """A number that passed its threshold, and when.

    Attributes:
        kind: Which number.
        before: The last step that was looked at before it passed.
        step: The first step at which it was seen above its threshold.
        last: The last one.
        value: What it was then, in the units of its threshold; infinite where it was not finite. Of a gradient
            the largest since.
        peak: The step of that value.
        module: The module where it was largest, for an update.
    """

    kind: Kind
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

    def told(self) -> str:
        """In words."""
        if not isfinite(self.value) and self.kind in _OVERFLOWS:
            return f"{_OVERFLOWS[self.kind]} {self._when(self.peak, self.peak)}".format(module=self.module)
        first = self.before + 1 if self.kind in _LOGITS else self.step
        return _PHRASES[self.kind].format(
            threshold=_THRESHOLDS[self.kind],
            value=self.value,
            module=self.module,
            when=self._when(first, self.peak),
        )

    def _when(self, first: int, last: int) -> str:
        return f"at step {last}" if first >= last else f"between steps {first} and {last}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What is known of one step of one member.

    Attributes:
        step: Updates made with this one.
        loss: Before the update, nats per token.
        gradient_norm: Before the clip.
        attention_logit: The largest after the update, NaN where nobody looked.
        output_logit: RMS of the output logits after the update, NaN where nobody looked.
    """

    step: int
    loss: float
    gradient_norm: float
    attention_logit: float = nan
    output_logit: float = nan

    @property
    def looked(self) -> bool:
        """Whether somebody looked."""
        return not isnan(self.attention_logit)


@dataclass(slots=True, kw_only=True)
class Track:
    """What is remembered of one member.

    Attributes:
        step: The last step known.
        looked: The last step at which its logits were looked at.
        norms: Gradient norms of the last `WINDOW` steps.
        mean, variance: Exponential averages of the loss.
        since: Gradient norms since the last point.
        spikes: Spikes of the loss since the last point.
        close: Steps watched closely so far.
        suspicious: Whether the last steps known gave reason to look closely.
        lost: Whether a loss was not finite: what comes after tells nothing.
        symptoms: The latest of each kind.
    """

    step: int = 0
    looked: int = 0
    norms: list[float] = field(default_factory=list)
    mean: float = 0.0
    variance: float = 0.0
    since: list[float] = field(default_factory=list)
    spikes: int = 0
    close: int = 0
    suspicious: bool = False
    lost: bool = False
    symptoms: dict[str, Symptom] = field(default_factory=dict)

    def copy(self) -> "Track":
        """One that goes its own way from here."""
        return replace(self, norms=list(self.norms), since=list(self.since), symptoms=dict(self.symptoms))

    def watches(self, step: int) -> bool:
        """Whether this step is worth a closer look: something seems wrong, and the logits are not known to be."""
        if not self.suspicious or step % APART:
            return False
        known = any(one.last == self.looked for kind, one in self.symptoms.items() if kind in _LOGITS)
        return not known and self.close < CLOSE + step // CLOSE_EVERY

    def read(self, glances: Sequence[Glance]) -> None:
        """Take in some steps in their order."""
        usual = median(self.norms) if len(self.norms) >= SETTLED else inf
        shares = [self._take(glance, usual) for glance in glances]
        self.norms = self.norms[-WINDOW:]
        self.suspicious = max(shares, default=0.0) > SUSPICIOUS

    def _take(self, glance: Glance, usual: float) -> float:
        """One step; the largest share of its threshold that a number has."""
        self.lost |= not isfinite(glance.loss)
        if self.lost:
            return 0.0
        spread = sqrt(self.variance) if self.step >= SETTLED else inf
        deviations = (glance.loss - self.mean) / spread if spread else 0.0
        step, before = glance.step, self.step
        shares = [
            self._check("gradient", before, step, glance.gradient_norm / usual if usual else 0.0),
            self._check("spike", before, step, deviations),
        ]
        self.spikes += deviations > SPIKE
        self._average(glance.loss)
        self.since.append(glance.gradient_norm)
        if isfinite(glance.gradient_norm):
            self.norms.append(glance.gradient_norm)
        if glance.looked:
            shares.append(self.look(step, glance.attention_logit, glance.output_logit))
        self.step = step
        return max(shares)

    def look(self, step: int, attention_logit: float, output_logit: float) -> float:
        """Take in the logits after a step; the larger share of its threshold."""
        before, self.looked = self.looked, step
        share = max(
            self._check("attention", before, step, attention_logit),
            self._check("output", before, step, output_logit),
        )
        self.suspicious |= share > SUSPICIOUS
        return share

    def weigh(self, before: int, step: int, updates: dict[str, float]) -> None:
        """Take in each module's update RMS over its weight RMS at a step.

        Args:
            before: The step of the last look at them.
            step: This one.
            updates: By module.
        """
        module = max(updates, key=lambda name: number(updates[name]))
        self._check("update", before, step, updates[module], module)

    def _check(self, kind: Kind, before: int, step: int, value: float, module: str = "") -> float:
        value = 0.0 if self.lost else number(value)
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
        """What all steps since the last point gave; the count begins anew."""
        norms, spikes = self.since or [nan], self.spikes
        self.since, self.spikes = [], 0
        return {
            "gradient_norm": fsum(norms) / len(norms) if all(map(isfinite, norms)) else nan,
            "gradient_norm_max": max(norms, key=number),
            "loss_spikes": float(spikes),
        }

    def explanation(self, step: int) -> str:
        """What went wrong first, in words, for a member that is lost at a step: the earliest, then the gravest.

        A large update is the rate's own doing, and is named where nothing came of it but the end.
        """
        recent = [symptom for symptom in self.symptoms.values() if symptom.last >= step - WINDOW]
        if not recent:
            return "no symptom before it"
        first = min(recent, key=lambda one: (one.kind == "update", one.step, -one.severity))
        return first.told()

    def saved(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def loaded(cls, saved: dict[str, Any]) -> "Track":
        """The track that `saved` described."""
        symptoms = {kind: Symptom(**fields) for kind, fields in saved["symptoms"].items()}
        return cls(**{**saved, "symptoms": symptoms})


def number(value: float) -> float:
    """The value, infinite where it is no number: that is beyond every threshold."""
    return value if isfinite(value) else inf
