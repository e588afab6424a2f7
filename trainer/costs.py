"""Cost of each member of a job: its updates and its share of the stack's time since its last finished run."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(slots=True, kw_only=True)
class Costs:
    """Unsettled costs; `settle` reports those of one member and resets them.

    Attributes:
        steps: Updates of each member since it was last settled.
        seconds: Each member's share of the stack's time since it was last settled.
        charged_until: `time.perf_counter` of the last charge.
    """

    steps: list[int]
    seconds: list[float]
    charged_until: float = 0.0

    @classmethod
    def fresh(cls, members: int) -> Self:
        """Costs of a job before its first update."""
        return cls(steps=[0] * members, seconds=[0.0] * members)

    def begin(self) -> None:
        """Starts the clock; time before this call is charged to no member."""
        self.charged_until = time.perf_counter()

    def update(self, members: Sequence[int]) -> None:
        """Counts one update of these members, and the time that it took."""
        for member in members:
            self.steps[member] += 1
        self.charge(members)

    def charge(self, members: Sequence[int]) -> None:
        """Divides the time since the last charge equally between members."""
        now = time.perf_counter()
        for member in members:
            self.seconds[member] += (now - self.charged_until) / len(members)
        self.charged_until = now

    def settle(self, member: int) -> tuple[int, float]:
        """Updates and seconds of a member since it was last settled."""
        settled = self.steps[member], self.seconds[member]
        self.steps[member], self.seconds[member] = 0, 0.0
        return settled

    def saved(self) -> dict[str, Any]:
        """The content of a checkpoint: `Costs(**saved)` restores it."""
        return {"steps": self.steps, "seconds": self.seconds}
