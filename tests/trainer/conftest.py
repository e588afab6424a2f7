"""One thread, one corpus, and functions to make a job and to compare outcomes."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from trainer import (
    Corpus,
    CurveEvent,
    FinishedEvent,
    LensEvent,
    Member,
    Recipe,
    Schedule,
    Shape,
    TrainingEvent,
    TrainingJob,
    load_corpus,
)

BATCH = 128


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return load_corpus("stdlib")


@pytest.fixture
def make_job() -> Callable[..., TrainingJob]:
    """A small job: learning rates, horizons in steps, anything else of the shape or the recipe."""

    def make(
        rates: Iterable[float], steps: Iterable[int] = (60, 90), *, shape: Shape | None = None, **recipe: Any
    ) -> TrainingJob:
        batch_tokens = recipe.pop("batch_tokens", BATCH)
        schedule = recipe.pop("schedule", Schedule(warmup_tokens=16 * batch_tokens))
        horizons = tuple(batch_tokens * count for count in steps)
        return TrainingJob(
            recipe=Recipe(
                shape=shape or Shape(width=16, depth=2),
                schedule=schedule,
                batch_tokens=batch_tokens,
                **recipe,
            ),
            members=tuple(Member(learning_rate=rate, horizons=horizons) for rate in rates),
        )

    return make


@pytest.fixture
def outcome() -> Callable[[Iterable[TrainingEvent], int], dict[Any, Any]]:
    """All measurements of one member, without times."""

    def of(events: Iterable[TrainingEvent], member: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for event in events:
            if event.member != member:
                continue
            if isinstance(event, CurveEvent):
                points = zip(event.steps, event.tokens, event.losses, strict=True)
                found.setdefault(("curve", event.horizon), []).extend(points)
            elif isinstance(event, FinishedEvent):
                found["finished", event.horizon] = (event.tokens, event.loss, event.trunk_loss)
            elif isinstance(event, LensEvent):
                seen = (event.step, event.tokens, str(event.values))
                found.setdefault(("seen", event.horizon), []).append(seen)
            else:
                found["diverged"] = (event.horizons, event.step, event.tokens, event.reason)
        return found

    return of
