"""Muon: the update of a matrix is the orthogonal matrix nearest to its momentum (Jordan et al. 2024; arXiv 2502.16982).

| symbol | meaning |
|---|---|
| K | members of the stack |
| M | matrices of one kind in one member |
| m, n | the smaller and the larger side of a matrix |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration x ↦ a·x + b·x³ + c·x⁵ on singular values, chosen for its slope at 0 (Jordan et al. 2024)."""

ITERATIONS = 5

ADAMW_RMS = 0.2
"""RMS of AdamW's usual updates; with it AdamW's learning rate and decay can be kept (arXiv 2502.16982, section 2.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrices:
    """Consecutive matrices of equal size in a member's parameters.

    Attributes:
        count: Number of matrices.
        rows, columns: Size of each.
        parts: Linear maps side by side in the columns of each, orthogonalized separately. Queries, keys and values
            are three maps in one matrix; orthogonalized together, the one with the largest gradient would determine
            the norm of all, and the others would hardly change.
    """

    count: int
    rows: int
    columns: int
    parts: int = 1

    @property
    def sides(self) -> tuple[int, int]:
        """Smaller and larger side of one map, (m, n)."""
        first, second = sorted((self.rows, self.columns // self.parts))
        return first, second

    @property
    def scale(self) -> float:
        """Factor on an orthogonal matrix that gives it the RMS of AdamW's updates."""
        return ADAMW_RMS * sqrt(self.sides[1])

    def apart(self, values: Tensor) -> Tensor:
        """[K, M·rows·columns] as wide matrices [K, M·parts, m, n]."""
        cut = values.view(-1, self.count, self.rows, self.parts, self.columns // self.parts)
        matrices = cut.transpose(2, 3).flatten(1, 2)
        return matrices if matrices.shape[2:] == self.sides else matrices.transpose(2, 3)

    def together(self, matrices: Tensor) -> Tensor:
        """The inverse of `apart`."""
        if matrices.shape[2:] != (self.rows, self.columns // self.parts):
            matrices = matrices.transpose(2, 3)
        members, _, rows, columns = matrices.shape
        side_by_side = matrices.reshape(members, self.count, self.parts, rows, columns).transpose(2, 3)
        return side_by_side.flatten(1)


def orthogonalize(matrices: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
    """Each matrix with its singular values near 1, by Newton–Schulz iteration.

    Args:
        matrices: float32 [number, m, n], m ≤ n.
        precision: Type of the products.
    """
    norms = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True).clamp_min_(1e-12)
    x = (matrices / norms).to(precision)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        gram = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    orthogonal: Tensor = x.to(matrices.dtype)
    return orthogonal


def directions(momenta: Sequence[Tensor], kinds: Sequence[Matrices], precision: torch.dtype) -> list[Tensor]:
    """Updates at a learning rate of 1; matrices with equal sides share their products.

    Args:
        momenta: One tensor for each entry of `kinds`, [K, M·rows·columns].
        kinds: Layouts of these tensors.
        precision: Type of the products.
    """
    found: dict[int, Tensor] = {}
    for sides in dict.fromkeys(kind.sides for kind in kinds):
        alike = [place for place, kind in enumerate(kinds) if kind.sides == sides]
        apart = [kinds[place].apart(momenta[place]) for place in alike]
        batch = torch.cat(apart, dim=1)
        orthogonal = orthogonalize(batch.flatten(0, 1), precision).view_as(batch)
        split = torch.split(orthogonal, [matrices.shape[1] for matrices in apart], dim=1)
        for place, matrices in zip(alike, split, strict=True):
            found[place] = kinds[place].together(matrices).mul_(kinds[place].scale)
    return [found[place] for place in range(len(kinds))]
