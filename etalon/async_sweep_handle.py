"""A sweep in the hands of a client for asyncio: the names of ``etalon.sweep_handle``, awaited or iterated with ``async for``."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol, Self

from etalon import operations
from etalon.arguments import Amount
from etalon.event_stream import StreamedEvent
from etalon.operations import ATTEMPTS, PAGE_ITEMS, PATIENT_ATTEMPTS, Answer, Call, Item, Listing
from etalon.plotly_figure import PlotlyFigure
from etalon.run_frames import frame_of_points, frame_of_runs, require_pandas
from etalon.sweep_facts import SweepFacts
from orchestrator.documents.comparisons import ComparisonDocument
from orchestrator.documents.laws import LawDocument
from orchestrator.documents.predictions import PredictionDocument
from orchestrator.documents.runs import RunDocument
from orchestrator.documents.sweeps import SweepDocument
from orchestrator.states import SWEEP_LIVE


class AsyncAsking(Protocol):
    """A client, as far as a sweep needs one."""

    @property
    def url(self) -> str:
        """Address of the service."""
        ...

    async def ask(
        self, call: Call[Answer], *, attempts: int = ATTEMPTS, deadline: float = math.inf
    ) -> Answer:
        """As ``AsyncClient.ask``."""
        ...

    def items(self, call: Call[Listing[Item]]) -> AsyncIterator[Item]:
        """As ``AsyncClient.items``."""
        ...

    def events(self, sweep_id: str, *, after: int = 0) -> AsyncIterator[StreamedEvent]:
        """As ``AsyncClient.events``."""
        ...


class AsyncSweepHandle(SweepFacts):
    """A sweep of a service.

    Attributes:
        document: the sweep as it was when it was last asked for.
        runs: its runs.
        laws: its laws.
        points: the points of its learning curves.
    """

    def __init__(self, client: AsyncAsking, document: SweepDocument) -> None:
        super().__init__(client.url, document)
        self._client = client
        self.runs = AsyncSweepRuns(client, self.id)
        self.laws = AsyncSweepLaws(client, self.id)
        self.points = AsyncSweepPoints(client, self.runs)

    async def refresh(self) -> Self:
        """Ask for the sweep again."""
        return await self._asked(operations.SWEEP.call(sweep_id=self.id))

    async def watch(self, *, after: int = 0) -> AsyncIterator[StreamedEvent]:
        """Its events from the first on, until its state is final; resumes after a broken connection.

        Args:
            after: id of the last event that is known already.
        """
        async for event in self._client.events(self.id, after=after):
            yield event
        await self.refresh()

    async def follow(
        self, *, every_seconds: float = 0.5, timeout: float | None = None
    ) -> AsyncIterator[SweepDocument]:
        """The sweep again and again until its state is final; the last one is the final one.

        A service that is started again meanwhile is waited for.

        Raises:
            TimeoutError: it is not final after ``timeout`` seconds.
        """
        call = operations.SWEEP.call(sweep_id=self.id)
        deadline = operations.deadline_after(timeout)
        while True:
            await self._asked(call, attempts=PATIENT_ATTEMPTS, deadline=deadline)
            yield self.document
            if self.state not in SWEEP_LIVE:
                return
            self._check_time(deadline, timeout, every_seconds)
            await asyncio.sleep(every_seconds)

    async def wait(self, timeout: float | None = None) -> Self:
        """Wait until its state is final.

        Raises:
            TimeoutError: it is not final after ``timeout`` seconds.
        """
        async for _ in self.follow(timeout=timeout):
            pass
        return self

    async def predict(
        self,
        *,
        params: Amount,
        tokens: Amount,
        batch_tokens: Amount | None = None,
        budget_flops: Amount | None = None,
        law: int | None = None,
    ) -> PredictionDocument:
        """The predicted learning rate at a target.

        Args:
            params: N of the target, such as ``1e9`` or ``"1B"``.
            tokens: D of the target.
            batch_tokens: B of the target; None takes the best one there.
            budget_flops: FLOPs that may be spent on confirming the prediction.
            law: number of the law that predicts; None takes the newest.

        Raises:
            Refused: the data cannot support a prediction there; the message has the reason.
        """
        return await self._client.ask(
            operations.question(
                self.id,
                params=params,
                tokens=tokens,
                batch_tokens=batch_tokens,
                budget_flops=budget_flops,
                law=law,
            )
        )

    @property
    async def law(self) -> LawDocument | None:
        """The newest law, whole; None where there is none yet. Asks the service."""
        newest = (await self.refresh()).document.law
        return None if newest is None else await self.laws.get(newest.number)

    @property
    async def comparison(self) -> ComparisonDocument:
        """Fitting against Transfer at its held-out scale. Asks the service."""
        return await self._client.ask(operations.COMPARISON.call(sweep_id=self.id))

    async def figure(
        self,
        name: str,
        *,
        columns: int | None = None,
        params: float | None = None,
        batch_tokens: float | None = None,
        page: int | None = None,
        phase: str | None = None,
    ) -> PlotlyFigure:
        """A figure as the service draws it, such as ``bowls``, ``law``, ``batch`` or ``losses``.

        Args:
            name: of the figure.
            columns: panels side by side.
            params: bowls only: cells of this N.
            batch_tokens: bowls only: cells of this B.
            page: bowls only: this page of cells.
            phase: bowls and law only: ``stable`` draws the losses before the decay.
        """
        query = {
            "columns": columns,
            "params": params,
            "batch_tokens": batch_tokens,
            "page": page,
            "phase": phase,
        }
        return await self._client.ask(operations.FIGURE.call(sweep_id=self.id, name=name, query=query))

    async def pause(self) -> Self:
        """Start no new runs; live runs of proxies go on, registered programs are ended.

        At resume a program goes on from its checkpoint, or from its first token if its registration declares no resume.
        """
        return await self._asked(operations.PAUSE.call(sweep_id=self.id))

    async def resume(self) -> Self:
        """Continue a paused sweep."""
        return await self._asked(operations.RESUME.call(sweep_id=self.id))

    async def stop(self) -> Self:
        """End the sweep; live runs finish."""
        return await self._asked(operations.STOP.call(sweep_id=self.id))

    async def cancel(self) -> Self:
        """End the sweep at once; live runs are killed."""
        return await self._asked(operations.CANCEL.call(sweep_id=self.id))

    async def extend(self, patch: Mapping[str, Any], *, revision: int | None = None) -> Self:
        """Change the specification by a JSON merge patch; a completed or stopped sweep runs on.

        Args:
            patch: lists are replaced whole, so growth repeats the old entries; None lifts a budget or the target.
            revision: that the patch is made from, such as ``document.revision``; None for whichever is the present one.

        Raises:
            BadInput: with the path of each field that may not change, or would shrink.
            Stale: the sweep has another revision by now.
        """
        return await self._asked(operations.extension(self.id, patch, revision))

    async def clone(
        self, patch: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None
    ) -> Self:
        """Submit a new sweep with this specification after a JSON merge patch of any fields; it has no runs of this one."""
        document = await self._client.ask(operations.cloning(self.id, patch, idempotency_key))
        return type(self)(self._client, document)

    async def _asked(
        self, call: Call[SweepDocument], *, attempts: int = ATTEMPTS, deadline: float = math.inf
    ) -> Self:
        self.document = await self._client.ask(call, attempts=attempts, deadline=deadline)
        return self


class AsyncSweepRuns:
    """The runs of a sweep, in the order in which they were asked for; iterating asks page by page."""

    def __init__(self, client: AsyncAsking, sweep_id: str) -> None:
        self._client = client
        self._sweep_id = sweep_id

    def __aiter__(self) -> AsyncIterator[RunDocument]:
        return self.list()

    def list(self, *, state: str | None = None) -> AsyncIterator[RunDocument]:
        """Every run, or those in one state."""
        query = {"state": state, "limit": PAGE_ITEMS}
        return self._client.items(operations.RUNS.call(sweep_id=self._sweep_id, query=query))

    async def frame(self) -> Any:
        """Every run as a row of a pandas data frame.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        require_pandas()
        return frame_of_runs([run async for run in self])

    async def csv(self) -> str:
        """The finished runs as a run table."""
        return await self._client.ask(operations.EXPORT.call(sweep_id=self._sweep_id))


class AsyncSweepLaws:
    """The laws of a sweep, oldest first; iterating asks page by page."""

    def __init__(self, client: AsyncAsking, sweep_id: str) -> None:
        self._client = client
        self._sweep_id = sweep_id

    def __aiter__(self) -> AsyncIterator[LawDocument]:
        query = {"limit": PAGE_ITEMS}
        return self._client.items(operations.LAWS.call(sweep_id=self._sweep_id, query=query))

    async def get(self, number: int) -> LawDocument:
        """One law by its number, from 1."""
        return await self._client.ask(operations.LAW.call(sweep_id=self._sweep_id, number=number))


class AsyncSweepPoints:
    """The points of a sweep's learning curves; those of a trunk stand with every run that shares it."""

    def __init__(self, client: AsyncAsking, runs: AsyncSweepRuns) -> None:
        self._client = client
        self._runs = runs

    async def frame(self) -> Any:
        """Every point as a row of a pandas data frame; asks once for each run, which may have 10,000 points.

        A ``UserWarning`` names each run that has more.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        require_pandas()
        return frame_of_points(
            [(run, await self._client.ask(operations.losses(run.id))) async for run in self._runs]
        )
