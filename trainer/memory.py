"""How much memory a member takes, from its shape alone: what decides how many fit on a GPU.

| symbol | meaning |
|---|---|
| P | parameters of a member, all of them |
| R, k | rows: tokens of one batch; experts that see a token |
| W, H, h, V | width, hidden width of the dense part, width of one expert, vocabulary |
| p | bytes of a number in the matrix products |
"""

from dataclasses import dataclass

from trainer.recipe import OptimizerKind
from trainer.shape import Shape

FLOAT = 4
LARGEST_STACK = 128
MOST_GROUPS = 1_023
"""Experts of all members together in one grouped product of PyTorch on a GPU (`GroupMMCommon.cuh`)."""

SHARE = 0.8
"""Of the free memory that a stack may take; the rest is for evaluations, workspaces and fragments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of one member.

    Attributes:
        state: Parameters and moments, kept between updates.
        update: The most that an update takes besides.
        look: The most that a look of the lenses takes besides.
    """

    state: int
    update: int
    look: int

    @property
    def total(self) -> int:
        """With the trunk, which waits while a decay branch is trained, and a copy of it where it ends."""
        return 3 * self.state + max(self.update, self.look)


def memory_per_member(
    shape: Shape, batch_tokens: int, *, product_bytes: int = 2, optimizer: OptimizerKind = "adamw"
) -> Memory:
    """Bytes of one member in an update that is not compiled; a compiler keeps less.

    The most of an update is either where the forward pass ends, with what the backward pass will need and the
    logits, or in the optimizer, with the gradients and what it computes from them. A look of the lenses copies the
    parameters, and has every product of a query and a key of one sequence three times.

    Args:
        shape: The member's.
        batch_tokens: Tokens per step.
        product_bytes: p: 2 for bfloat16, 4 for float32.
        optimizer: Muon's products take copies of their own.
    """
    parameters, lower = shape.parameters, product_bytes < FLOAT
    copies = product_bytes * parameters if lower else 0
    forward = copies + shape.depth * batch_tokens * _block_bytes(shape, product_bytes)
    logits = 2 * FLOAT * batch_tokens * shape.vocab_size  # And their probabilities.
    stream = 3 * FLOAT * batch_tokens * shape.width
    # Gradients, roots and steps; or gradients, momenta, and what an orthogonalization's products take.
    moving = 2 * FLOAT + 4 * product_bytes if optimizer == "muon" else 3 * FLOAT
    return Memory(
        state=3 * FLOAT * parameters,
        update=max(forward + logits + stream, moving * parameters),
        look=FLOAT * (parameters + 3 * (shape.head_count * shape.context + shape.vocab_size) * shape.context),
    )


def members_that_fit(shape: Shape, memory: Memory, free_bytes: int) -> int:
    """How many members a GPU with so much free memory trains in one stack; at least 1, at most 128."""
    most = LARGEST_STACK
    if shape.experts is not None:
        most = min(most, MOST_GROUPS // shape.experts.count)
    return max(1, min(most, int(SHARE * free_bytes) // memory.total))


def _block_bytes(shape: Shape, product_bytes: int) -> int:
    """What the backward pass needs of one row and block."""
    width, lower = shape.width, product_bytes < FLOAT
    # Two norms, and their copies in the products' precision; the same of turned queries and keys.
    normed = 2 * (2 * width) * (FLOAT + product_bytes if lower else FLOAT)
    # Queries, keys and values as projected, the heads' outputs, and those side by side; both sides of relu².
    passed = 5 * width + 2 * shape.hidden
    experts = shape.experts
    if experts is not None:
        # A token's copies for its experts, and what they give back; both sides of their relu².
        passed += experts.top_k * (2 * width + 2 * experts.width)
    return normed + product_bytes * passed
