"""What the members of a job cost: updates of each, and its share of the stack's time, until a run's end settles them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(slots=True, kw_only=True)
class Costs:
    """Counts what is trained.

    Attributes:
        steps: Updates of each member since it was last settled.
        seconds: Each member's share of the stack's time since then.
        spent: Updates of all members since the job began.
        charged_until: When time was last shared, by `time.perf_counter`.
    """

    steps: list[int]
    seconds: list[float]
    spent: int = 0
    charged_until: float = 0.0

    @classmethod
    def fresh(cls, members: int) -> Self:
        """Nothing trained yet."""
        return cls(steps=[0] * members, seconds=[0.0] * members)

    def begin(self) -> None:
        """Time counts from here on."""
        self.charged_until = time.perf_counter()

    def update(self, members: Sequence[int]) -> None:
        """One update of these members, with the time that it took."""
        self.spent += len(members)
        for member in members:
            self.steps[member] += 1
        self.charge(members)

    def charge(self, members: Sequence[int]) -> None:
        """Shares the time since the last charge between members."""
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
        """As plain values."""
        return {"steps": self.steps, "seconds": self.seconds, "spent": self.spent}
