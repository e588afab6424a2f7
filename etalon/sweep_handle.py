"""A sweep in the hands of a client: its state, runs, laws, learning curves and figures."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from itertools import islice
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
from orchestrator.errors import NotFound
from orchestrator.states import SWEEP_LIVE


class Asking(Protocol):
    """A client, as far as a sweep needs one."""

    @property
    def url(self) -> str:
        """Address of the service."""
        ...

    def ask(self, call: Call[Answer], *, attempts: int = ATTEMPTS, deadline: float = math.inf) -> Answer:
        """As ``Client.ask``."""
        ...

    def items(self, call: Call[Listing[Item]]) -> Iterator[Item]:
        """As ``Client.items``."""
        ...

    def events(self, sweep_id: str, *, after: int = 0) -> Iterator[StreamedEvent]:
        """As ``Client.events``."""
        ...


class SweepHandle(SweepFacts):
    """A sweep of a service.

    Attributes:
        document: the sweep as it was when it was last asked for.
        runs: its runs.
        laws: its laws.
        points: the points of its learning curves.
    """

    def __init__(self, client: Asking, document: SweepDocument) -> None:
        super().__init__(client.url, document)
        self._client = client
        self.runs = SweepRuns(client, self.id)
        self.laws = SweepLaws(client, self.id)
        self.points = SweepPoints(client, self.runs)

    def refresh(self) -> Self:
        """Ask for the sweep again."""
        return self._asked(operations.SWEEP.call(sweep_id=self.id))

    def watch(self, *, after: int = 0) -> Iterator[StreamedEvent]:
        """Its events from the first on, until its state is final; resumes after a broken connection.

        Args:
            after: id of the last event that is known already.
        """
        yield from self._client.events(self.id, after=after)
        self.refresh()

    def follow(self, *, every_seconds: float = 0.5, timeout: float | None = None) -> Iterator[SweepDocument]:
        """The sweep again and again until its state is final; the last one is the final one.

        A service that is started again meanwhile is waited for.

        Raises:
            TimeoutError: it is not final after ``timeout`` seconds.
        """
        call = operations.SWEEP.call(sweep_id=self.id)
        deadline = operations.deadline_after(timeout)
        while True:
            self._asked(call, attempts=PATIENT_ATTEMPTS, deadline=deadline)
            yield self.document
            if self.state not in SWEEP_LIVE:
                return
            self._check_time(deadline, timeout, every_seconds)
            time.sleep(every_seconds)

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until its state is final.

        Raises:
            TimeoutError: it is not final after ``timeout`` seconds.
        """
        for _ in self.follow(timeout=timeout):
            pass
        return self

    def predict(
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
        return self._client.ask(
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
    def law(self) -> LawDocument | None:
        """The newest law, whole; None where there is none yet. Asks the service."""
        newest = self.refresh().document.law
        return None if newest is None else self.laws.get(newest.number)

    @property
    def comparison(self) -> ComparisonDocument:
        """Fitting against Transfer at its held-out scale. Asks the service."""
        return self._client.ask(operations.COMPARISON.call(sweep_id=self.id))

    def figure(
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
        return self._client.ask(operations.FIGURE.call(sweep_id=self.id, name=name, query=query))

    def pause(self) -> Self:
        """Start no new runs; live runs of proxies go on, registered programs are ended.

        At resume a program goes on from its checkpoint, or from its first token if its registration declares no resume.
        """
        return self._asked(operations.PAUSE.call(sweep_id=self.id))

    def resume(self) -> Self:
        """Continue a paused sweep."""
        return self._asked(operations.RESUME.call(sweep_id=self.id))

    def stop(self) -> Self:
        """End the sweep; live runs finish."""
        return self._asked(operations.STOP.call(sweep_id=self.id))

    def cancel(self) -> Self:
        """End the sweep at once; live runs are killed."""
        return self._asked(operations.CANCEL.call(sweep_id=self.id))

    def extend(self, patch: Mapping[str, Any], *, revision: int | None = None) -> Self:
        """Change the specification by a JSON merge patch; a completed or stopped sweep runs on.

        Args:
            patch: lists are replaced whole, so growth repeats the old entries; None lifts a budget or the target.
            revision: that the patch is made from, such as ``document.revision``; None for whichever is the present one.

        Raises:
            BadInput: with the path of each field that may not change, or would shrink.
            Stale: the sweep has another revision by now.
        """
        return self._asked(operations.extension(self.id, patch, revision))

    def clone(self, patch: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None) -> Self:
        """Submit a new sweep with this specification after a JSON merge patch of any fields; it has no runs of this one."""
        document = self._client.ask(operations.cloning(self.id, patch, idempotency_key))
        return type(self)(self._client, document)

    def _asked(
        self, call: Call[SweepDocument], *, attempts: int = ATTEMPTS, deadline: float = math.inf
    ) -> Self:
        self.document = self._client.ask(call, attempts=attempts, deadline=deadline)
        return self


class SweepRuns:
    """The runs of a sweep, in the order in which they were asked for; iterating asks page by page.

    `len` asks the service too; it is always true, also without runs.
    """

    def __init__(self, client: Asking, sweep_id: str) -> None:
        self._client = client
        self._sweep_id = sweep_id

    def __iter__(self) -> Iterator[RunDocument]:
        return self.list()

    def list(self, *, state: str | None = None) -> Iterator[RunDocument]:
        """Every run, or those in one state."""
        return self._client.items(self._call(state=state, limit=PAGE_ITEMS))

    def __len__(self) -> int:
        return self._client.ask(self._call(limit=1)).total

    def __bool__(self) -> bool:
        """True, without a request: ask `len` whether there are any."""
        return True

    def __getitem__(self, index: int) -> RunDocument:
        place = operations.place(index, self.__len__)
        for run in islice(self, place, None):
            return run
        raise IndexError(f"There is no run at {index}.")

    def _call(self, **query: object) -> Call[Listing[RunDocument]]:
        return operations.RUNS.call(sweep_id=self._sweep_id, query=query)

    def frame(self) -> Any:
        """Every run as a row of a pandas data frame.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        require_pandas()
        return frame_of_runs(self)

    def csv(self) -> str:
        """The finished runs as a run table."""
        return self._client.ask(operations.EXPORT.call(sweep_id=self._sweep_id))


class SweepLaws:
    """The laws of a sweep, oldest first; iterating asks page by page.

    `len` asks the service too; it is always true, also without laws.
    """

    def __init__(self, client: Asking, sweep_id: str) -> None:
        self._client = client
        self._sweep_id = sweep_id

    def __iter__(self) -> Iterator[LawDocument]:
        return self._client.items(self._call(PAGE_ITEMS))

    def __len__(self) -> int:
        return self._client.ask(self._call(1)).total

    def __bool__(self) -> bool:
        """True, without a request: ask `len` whether there are any."""
        return True

    def __getitem__(self, index: int) -> LawDocument:
        place = operations.place(index, self.__len__)
        try:
            return self.get(place + 1)
        except NotFound as error:
            raise IndexError(f"There is no law at {index}.") from error

    def _call(self, limit: int) -> Call[Listing[LawDocument]]:
        return operations.LAWS.call(sweep_id=self._sweep_id, query={"limit": limit})

    def get(self, number: int) -> LawDocument:
        """One law by its number, from 1."""
        return self._client.ask(operations.LAW.call(sweep_id=self._sweep_id, number=number))


class SweepPoints:
    """The points of a sweep's learning curves; those of a trunk stand with every run that shares it."""

    def __init__(self, client: Asking, runs: SweepRuns) -> None:
        self._client = client
        self._runs = runs

    def frame(self) -> Any:
        """Every point as a row of a pandas data frame; asks once for each run, which may have 10,000 points.

        A ``UserWarning`` names each run that has more.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        require_pandas()
        return frame_of_points((run, self._client.ask(operations.losses(run.id))) for run in self._runs)
