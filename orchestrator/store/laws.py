"""Laws: every refit of a sweep, numbered and immutable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, insert, select, update

from orchestrator.documents.events import LawEvent
from orchestrator.documents.laws import RuledOut, SizesDocument
from orchestrator.documents.predictions import TargetAnswer
from orchestrator.errors import NotFound
from orchestrator.store import schema
from orchestrator.store.database import Database, clock
from orchestrator.store.leases import LEADER, check_fence
from orchestrator.store.records import LawRecord, read_row, row_of
from orchestrator.store.sweeps import check_changed, locked_sweep

_S, _W = schema.sweeps.c, schema.laws.c


class Laws:
    """Laws by sweep and number, from 1."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(  # noqa: PLR0913 - one argument per column
        self,
        sweep_id: str,
        *,
        document: Mapping[str, Any],
        prediction: TargetAnswer,
        ruled_out: Sequence[RuledOut],
        runs: int,
        spent_flops: float,
        batch: int,
        fence: int,
        sizes: SizesDocument | None = None,
        refits: int = 0,
    ) -> LawRecord:
        """Write a new law, which becomes the sweep's current one.

        Args:
            sweep_id: the sweep.
            document: the law itself.
            prediction: the prediction at the sweep's target, or the refusal.
            ruled_out: the rates it drops.
            runs: number of runs it was fitted to.
            spent_flops: FLOPs that the sweep had spent.
            batch: number of the last batch of runs it saw.
            fence: of the leader's lease.
            sizes: results in the other count of parameters; None if there is one count.
            refits: ``refits_asked`` of the sweep when its runs were read.

        Returns:
            The law with its number; ``prediction`` carries that number too.

        Raises:
            NotFound: no such sweep.
            Conflict: another orchestrator holds the lease.
        """
        with self._database.write() as connection:
            check_fence(connection, LEADER, fence)
            before = locked_sweep(connection, sweep_id).law_number
            newest = select(func.max(_W.number)).where(_W.sweep_id == sweep_id)
            number = (connection.execute(newest).scalar_one() or 0) + 1
            now = clock(connection)
            law = LawRecord(
                sweep_id=sweep_id,
                number=number,
                document=dict(document),
                prediction=prediction.model_copy(update={"law_number": number}),
                ruled_out=tuple(ruled_out),
                runs=runs,
                spent_flops=spent_flops,
                batch=batch,
                created_at=now,
                sizes=sizes,
            )
            connection.execute(insert(schema.laws), row_of(law))
            values = {"law_number": number, "refits_done": refits, "updated_at": now}
            unchanged = (_S.id == sweep_id, _S.law_number.is_not_distinct_from(before))
            check_changed(
                connection.execute(update(schema.sweeps).where(*unchanged).values(values)), sweep_id
            )
            event = LawEvent(number=number, prediction=law.prediction.model_dump(mode="json"), runs=runs)
            self._database.add_events(connection, sweep_id, [event], now)
        return law

    def refuse(self, sweep_id: str, refusal: LawEvent, *, fence: int, refits: int) -> None:
        """Write that a fit gave no law. The earlier laws stay; a change they have not seen leaves the sweep without one.

        Args:
            sweep_id: the sweep.
            refusal: the reason.
            fence: of the leader's lease.
            refits: as in ``add``.

        Raises:
            NotFound: no such sweep.
            Conflict: another orchestrator holds the lease.
        """
        with self._database.write() as connection:
            check_fence(connection, LEADER, fence)
            sweep = locked_sweep(connection, sweep_id)
            now = clock(connection)
            if refits > sweep.refits_done:
                values = {"law_number": None, "refits_done": refits, "updated_at": now}
                connection.execute(update(schema.sweeps).where(_S.id == sweep_id).values(values))
            self._database.add_events(connection, sweep_id, [refusal], now)

    def get(self, sweep_id: str, number: int) -> LawRecord:
        """One law.

        Raises:
            NotFound: the sweep has no law of this number.
        """
        query = select(schema.laws).where(_W.sweep_id == sweep_id, _W.number == number)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound(f"Sweep {sweep_id!r} has no law {number}.")
        return read_row(LawRecord, row)

    def latest(self, sweep_id: str) -> LawRecord | None:
        """The sweep's present law; None before the first, and after a change that leaves none."""
        query = select(schema.laws).join(schema.sweeps, (_W.sweep_id == _S.id) & (_W.number == _S.law_number))
        query = query.where(_S.id == sweep_id)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else read_row(LawRecord, row)

    def predictions(self, sweep_ids: Sequence[str]) -> dict[str, TargetAnswer]:
        """The newest law's prediction at the target, or its refusal, by sweep; sweeps without a law are absent."""
        query = select(_W.sweep_id, _W.prediction).join_from(
            schema.sweeps, schema.laws, (_W.sweep_id == _S.id) & (_W.number == _S.law_number)
        )
        with self._database.read() as connection:
            found = connection.execute(query.where(_S.id.in_(sweep_ids)))
            return {row.sweep_id: row.prediction for row in found}

    def page(self, sweep_id: str, *, limit: int, after: int = 0) -> tuple[list[LawRecord], int | None, int]:
        """One page, oldest first: the laws, the number to continue after (None at the end), and how many there are.

        Args:
            sweep_id: the sweep.
            limit: most laws of a page.
            after: number of the last law of the page before; 0 for the first page.
        """
        query = select(schema.laws).where(_W.sweep_id == sweep_id, _W.number > after)
        count = select(func.count()).where(_W.sweep_id == sweep_id)
        with self._database.read() as connection:
            total = connection.execute(count).scalar_one()
            rows = connection.execute(query.order_by(_W.number).limit(limit + 1)).mappings().all()
        laws = [read_row(LawRecord, row) for row in rows[:limit]]
        return laws, laws[-1].number if len(rows) > limit else None, total

    def of_sweep(self, sweep_id: str) -> list[LawRecord]:
        """Every law of a sweep, oldest first."""
        query = select(schema.laws).where(_W.sweep_id == sweep_id).order_by(_W.number)
        with self._database.read() as connection:
            return [read_row(LawRecord, row) for row in connection.execute(query).mappings()]
