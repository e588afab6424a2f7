"""The basis of the random effects stays small, and keeps what several cells share."""

import numpy as np
import pytest

from orchestrator.law.effects import MOST_PAIRS, MOST_SIZES, basis


def places(sizes, horizons, batches):
    return np.array([(n, d, b) for n in sizes for d in horizons for b in batches])


def shifts(effects):
    return effects.counts["size"], effects.counts["pair"]


def test_what_one_cell_alone_has_gets_no_column():
    ladder = np.column_stack([np.arange(5.0), np.arange(5.0), np.zeros(5)])
    assert shifts(basis(ladder)) == (0, 0)
    assert shifts(basis(places(range(4), range(3), [0.0]))) == (4, 0)
    assert shifts(basis(places(range(4), range(3), [0.0, 1.0]))) == (4, 12)


def test_many_sizes_keep_those_of_most_cells():
    many = places(np.arange(200.0), [0.0, 1.0], [0.0, 1.0])
    extra = places([7.0], [2.0, 3.0], [0.0, 1.0])
    effects = basis(np.concatenate([many, extra]))
    assert shifts(effects) == (MOST_SIZES, MOST_PAIRS)
    assert 7.0 in effects.sizes
    assert effects.sizes.max() == 199.0


def test_columns_and_what_they_miss_make_up_the_variance():
    points = places(range(4), range(3), [0.0, 1.0])
    effects = basis(points)
    columns, missing = effects.matrix(np.concatenate([points, [[9.0, 9.0, 9.0]]]))
    ends = np.cumsum(list(effects.counts.values()))
    for group, block in enumerate(np.split(columns, ends[:-1], axis=1)):
        assert (block**2).sum(axis=1) + missing[:, group] == pytest.approx(1.0, abs=2e-3)
    assert missing[-1] == pytest.approx(1.0, abs=1e-3)


def test_shifts_of_neighbouring_sizes_are_alike_and_of_distant_ones_are_not():
    """Sizes 1.25, 2 and 8 times apart."""
    effects = basis(places([0.0], range(3), [0.0, 1.0]))
    near, apart, far = effects.matrix(np.log([[1.25, 1, 1], [2, 1, 1], [8, 1, 1]]))[1][:, 1]
    assert near < 0.3
    assert 0.7 < apart < far
    assert far > 0.99
