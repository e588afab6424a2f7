"""Why the runs of a live sweep do not start, and for how long they have not."""

from __future__ import annotations

from typing import Final

from orchestrator.allocation import Cluster, allocate, room_in
from orchestrator.amounts import duration
from orchestrator.documents.events import WorkersEvent
from orchestrator.spec import FIRST_RUNS, Resources
from orchestrator.states import RUN_MEASURED, SWEEP_LIVE, RunState, SweepState
from orchestrator.store import Store, driver_lease
from orchestrator.store.demands import RecordedDemand
from orchestrator.store.records import Sweep

START_SECONDS: Final = 30.0
"""Seconds that a driver or a worker may take to start before a sweep says that it waits for one."""


def waits_because(store: Store, sweep: Sweep) -> str | None:
    """The reason why no run of a live sweep can start now; None if some run, or none waits."""
    if sweep.state not in SWEEP_LIVE:
        return None
    if sweep.state is SweepState.PAUSED:
        return _ends_first(store, sweep)
    if _tries_first(store, sweep):
        return (
            f"The first {FIRST_RUNS} runs of a program go first, each with those that share its trunk: until one of them "
            "reports a loss, no more are started."
        )
    event = store.events.latest(sweep.id, WorkersEvent)
    if event is not None and event.reason is not None:
        return f"{event.reason} Runs wait until it grows."
    runs = store.sweeps.progress(sweep.id)
    if sweep.state is not SweepState.RUNNING or runs[RunState.RUNNING] or not runs[RunState.PENDING]:
        return None
    if store.leases.current(driver_lease(sweep.id)) is None:
        waited = (store.now() - sweep.updated_at).total_seconds()
        return f"Its driver is not running, {duration(waited)} so far." if waited > START_SECONDS else None
    demands = store.demands.live()
    mine = next((one for one in demands if one.demand.sweep_id == sweep.id), None)
    if event is None or mine is None or mine.waits_seconds is None:
        return None
    others = [one for one in demands if one is not mine and one.demand.wants > 0]
    return _behind_others(mine, others, Cluster(nodes=event.nodes), sweep.spec.needs)


def _ends_first(store: Store, sweep: Sweep) -> str | None:
    """What a paused sweep still trains: whole trunks, not each of their horizons."""
    tally = store.sweeps.tallies([sweep.id])[sweep.id]
    if not tally.under_way:
        return None
    runs, jobs = tally.by_state[RunState.RUNNING], tally.under_way
    trains = f"{jobs} training is" if jobs == 1 else f"{jobs} trainings are"
    shared = "" if runs == jobs else f", trunks that end at {runs} horizons"
    return f"{trains} still running{shared}; no other starts until the sweep is resumed."


def _behind_others(
    mine: RecordedDemand, others: list[RecordedDemand], cluster: Cluster, needs: Resources
) -> str | None:
    """The sentence of a sweep that wants workers and holds none."""
    waited = duration(mine.waits_seconds or 0.0)
    wanted = min(mine.demand.wants, room_in(cluster, needs))
    ahead = sum(one.demand.holds > 0 for one in others)
    if not ahead:
        starts = f"Its workers are starting, {waited} so far."
        return starts if (mine.waits_seconds or 0.0) > START_SECONDS else None
    share = allocate([mine.demand, *(one.demand for one in others)], cluster)[mine.demand.sweep_id]
    then = (
        "it starts when a job of theirs ends"
        if share
        else "turns go by who has had the least so far, as jobs end"
    )
    return (
        f"Runs wait for {_in_words(wanted, needs)}, {waited} so far; {ahead} {'sweep' if ahead == 1 else 'sweeps'} ahead; its "
        f"share is {share} of {room_in(cluster, needs)} workers, and {then}."
    )


def _in_words(workers: int, needs: Resources) -> str:
    """The resources of so many workers."""
    amounts = {"CPU": workers * needs.cpus_per_run, "GPU": workers * needs.gpus_per_run}
    return " and ".join(
        f"{amount:g} {name}{'' if amount == 1 else 's'}" for name, amount in amounts.items() if amount
    )


def _tries_first(store: Store, sweep: Sweep) -> bool:
    """Whether runs of a registered program wait for the first ones, though there are workers for more.

    The driver goes by the reports that it receives, which are recorded about a second later.
    """
    if sweep.spec.training.program is None or sweep.spec.resources.max_parallel <= FIRST_RUNS:
        return False
    runs = store.sweeps.progress(sweep.id)
    if any(runs[state] for state in RUN_MEASURED) or not runs[RunState.PENDING]:
        return False
    return store.runs.running_jobs(sweep.id) == FIRST_RUNS and not store.losses.has_live(sweep.id)
