"""The basis of the random effects stays small, and keeps what several cells share."""

import numpy as np
import pytest

from orchestrator.law.effects import MOST_PAIRS, MOST_SIZES, basis


def places(sizes, horizons, batches):
    return np.array([(n, d, b) for n in sizes for d in horizons for b in batches])


def test_what_one_cell_alone_has_gets_no_column():
    ladder = np.column_stack([np.arange(5.0), np.arange(5.0), np.zeros(5)])
    assert basis(ladder).counts[:2] == (0, 0)
    assert basis(places(range(4), range(3), [0.0])).counts[:2] == (4, 0)
    assert basis(places(range(4), range(3), [0.0, 1.0])).counts[:2] == (4, 12)


def test_many_sizes_keep_those_of_most_cells():
    many = places(np.arange(200.0), [0.0, 1.0], [0.0, 1.0])
    extra = places([7.0], [2.0, 3.0], [0.0, 1.0])
    effects = basis(np.concatenate([many, extra]))
    assert effects.counts[:2] == (MOST_SIZES, MOST_PAIRS)
    assert 7.0 in effects.sizes
    assert effects.sizes.max() == 199.0


def test_columns_and_what_they_miss_make_up_the_variance():
    points = places(range(4), range(3), [0.0, 1.0])
    effects = basis(points)
    columns, missing = effects.matrix(np.concatenate([points, [[9.0, 9.0, 9.0]]]))
    sizes, pairs, _ = effects.counts
    for group, block in ((0, columns[:, :sizes]), (1, columns[:, sizes : sizes + pairs])):
        assert (block**2).sum(axis=1) + missing[:, group] == pytest.approx(1.0)
    assert missing[-1, :2] == pytest.approx(1.0)
