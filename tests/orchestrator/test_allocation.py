"""Shares of a cluster: within its nodes, nobody idle while somebody wants, fair over time, the same every time."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.allocation import Cluster, Demand, allocate, caught_up, room_in
from orchestrator.spec import Resources

TWO_CPUS = Cluster.of([(2, 0)])

sizes = st.sampled_from(
    [(1.0, 0.0), (2.0, 0.0), (0.5, 0.0), (0.1, 0.0), (1.0, 1.0), (1.0, 0.25), (1.0, 0.4), (4.0, 2.0)]
)
clusters = st.lists(
    st.sampled_from([(2.0, 0.0), (4.0, 1.0), (8.0, 2.0), (1.0, 0.0), (3.0, 4.0)]), min_size=1, max_size=4
).map(Cluster.of)


@st.composite
def all_demands(draw: st.DrawFn, most: int = 5) -> list[Demand]:
    """Demands of some sweeps, wanting nothing, little or more than there is."""
    return [
        Demand(
            sweep_id=f"s{number}",
            cpus=size[0],
            gpus=size[1],
            wants=draw(st.integers(0, 12)),
            served_seconds=draw(st.floats(0, 1e4)),
        )
        for number, size in enumerate(draw(st.lists(sizes, max_size=most)))
    ]


def needs(demand: Demand) -> Resources:
    return Resources(cpus_per_run=demand.cpus, gpus_per_run=demand.gpus)


@given(all_demands(), clusters)
def test_shares_are_within_the_cluster_and_within_what_is_wanted(demands, cluster):
    shares = allocate(demands, cluster)
    assert shares.keys() == {demand.sweep_id for demand in demands}
    taken = [(shares[demand.sweep_id], demand) for demand in demands]
    assert all(0 <= share <= demand.wants for share, demand in taken)
    assert all(share <= room_in(cluster, needs(demand)) for share, demand in taken)
    assert sum(share * demand.cpus for share, demand in taken) <= cluster.cpus + 1e-9
    assert sum(share * demand.gpus for share, demand in taken) <= cluster.gpus + 1e-9


@given(all_demands(), clusters)
def test_nobody_waits_while_a_whole_cluster_has_room_for_it(demands, cluster):
    """Workers of one CPU fill any node, so that what is left free is exactly what nobody wants."""
    alike = [replace(demand, cpus=1.0, gpus=0.0) for demand in demands]
    shares = allocate(alike, cluster)
    room = room_in(cluster, Resources(cpus_per_run=1))
    assert sum(shares.values()) == min(room, sum(demand.wants for demand in alike))


@given(all_demands(most=1), clusters)
def test_a_sweep_alone_has_what_it_wants_as_far_as_there_is_room(demands, cluster):
    for demand in demands:
        room = room_in(cluster, needs(demand))
        assert allocate([demand], cluster) == {demand.sweep_id: min(demand.wants, room)}


@given(all_demands(), clusters, st.randoms())
def test_the_order_of_the_demands_is_without_effect(demands, cluster, random):
    shuffled = random.sample(demands, len(demands))
    assert allocate(shuffled, cluster) == allocate(demands, cluster)


@given(all_demands(), clusters)
def test_equal_workers_are_dealt_evenly(demands, cluster):
    alike = [replace(demand, cpus=1.0, gpus=0.0) for demand in demands]
    shares = allocate(alike, cluster)
    hungry = [shares[demand.sweep_id] for demand in alike if shares[demand.sweep_id] < demand.wants]
    if hungry:
        assert max(shares.values()) - min(hungry) <= 1


def test_what_one_sweep_does_not_want_is_left_to_the_other():
    cluster = Cluster.of([(4, 0)])
    few = Demand(sweep_id="a", cpus=1, gpus=0, wants=1)
    many = Demand(sweep_id="b", cpus=1, gpus=0, wants=9, served_seconds=1e6)
    assert allocate([few, many], cluster) == {"a": 1, "b": 3}


def test_workers_that_only_need_cpus_leave_the_gpus_free():
    cluster = Cluster.of([(4, 4), (4, 0)])
    plain = Demand(sweep_id="a", cpus=1, gpus=0, wants=4)
    trained = Demand(sweep_id="b", cpus=1, gpus=1, wants=4, served_seconds=9.0)
    assert allocate([plain, trained], cluster) == {"a": 4, "b": 4}


def test_a_sweep_that_joins_begins_at_the_least_served_one_and_not_in_the_past():
    old = [
        Demand(sweep_id=name, cpus=1, gpus=0, wants=2, served_seconds=s)
        for name, s in (("a", 9e3), ("b", 8e3))
    ]
    new = Demand(sweep_id="c", cpus=2, gpus=0, wants=1)
    joined = replace(new, served_seconds=caught_up(new, old, TWO_CPUS))
    assert joined.service(TWO_CPUS) == old[1].service(TWO_CPUS)
    assert caught_up(replace(new, served_seconds=9e9), old, TWO_CPUS) == 9e9
    assert caught_up(new, [], TWO_CPUS) == 0.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(1, 4), st.integers(0, 2**32))
def test_turns_are_fair_over_time(lengths, workers, first):
    """Sweeps with jobs of other lengths, which give a worker back only at a job's end, as drivers do."""
    cluster = Cluster.of([(float(workers), 0.0)])
    served = {f"s{number}": 0.0 for number in range(len(lengths))}
    length = dict(zip(served, lengths, strict=True))
    jobs: list[tuple[str, int]] = []
    for moment in range(300):
        jobs = [(one, left - 1) for one, left in jobs if left > 1]
        demands = [
            Demand(sweep_id=one, cpus=1, gpus=0, wants=workers, served_seconds=served[one]) for one in served
        ]
        shares = allocate(demands, cluster)
        for one in sorted(served, key=lambda one: (served[one], one)):
            held = sum(name == one for name, _ in jobs)
            for _ in range(min(shares[one] - held, workers - len(jobs))):
                jobs.append((one, length[one] + (moment + first) % 2))
        assert len(jobs) == workers, "nobody is idle while somebody wants"
        for one, _ in jobs:
            served[one] += 1.0
    longest = max(lengths) + 1
    assert max(served.values()) - min(served.values()) <= 2 * workers * longest
