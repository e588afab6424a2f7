"""The values of a comparison at a held-out scale: who contends, with which rate, and what their runs gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from orchestrator.spec import CellRole

FITTING: Final = "Fitting"
TRANSFER: Final = "Transfer"
SAME_RATE: Final = "the same rate"
MODULE_WISE: Final = "module-wise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to set the rate of the held-out scale.

    Attributes:
        name: as tables and figures call it.
        arm: how it is trained there.
        learning_rate: η that its runs are given; in Transfer's arm the global one, in the base's units.
        module_rates: multipliers by module, as text; empty for none.
        origin: where the rate comes from, in a sentence.
        source: the paper of a published law; None for the others.
    """

    name: str
    arm: CellRole
    learning_rate: float
    module_rates: str = ""
    origin: str
    source: str | None = None

    @property
    def place(self) -> tuple[CellRole, float, str]:
        """What tells its runs from others': contenders with one place share their runs."""
        return self.arm, self.learning_rate, self.module_rates


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A published law that does not contend, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the law says of the shape of the held-out bowl before anything is run there.

    Attributes:
        curvature: C of ln L = ln L_min + C·g(ln η − ln η*).
        asymmetry: a of the shape g.
        noise: standard deviation of ln loss between equal runs.
    """

    curvature: float
    asymmetry: float
    noise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The runs of one place of the held-out scale.

    Attributes:
        losses: of the runs that completed, by seed.
        diverged: the seeds that diverged.
    """

    losses: Mapping[int, float] = field(default_factory=dict)
    diverged: tuple[int, ...] = ()


Outcomes = Mapping[tuple[CellRole, float, str], Outcome]
"""What the runs of each place gave; places without an ended run are left out."""
