"""The number of members to train in one stack: by the cache of a CPU, or by the memory of a GPU.

| symbol | meaning |
|---|---|
| P | all parameters of a member |
| R, k | rows: tokens of one batch; experts of one token |
| W, H, h, V | width, hidden width of the dense part, width of one expert, vocabulary |
| p | bytes of a number in the matrix products |
"""

from dataclasses import dataclass

import torch

from trainer.proxy_shape import Shape
from trainer.recipe import OptimizerKind

FLOAT = 4
LARGEST_STACK = 128
MOST_GROUPS = 1_023
"""Experts of all members together in one grouped product of PyTorch on a GPU (`GroupMMCommon.cuh`)."""

SHARE = 0.8
"""Share of the free memory of a GPU for a stack; the rest is for evaluations, workspaces and fragmentation."""

CACHED_ROWS = 2_048
"""Most rows of all members on a CPU."""

CACHED_STREAM = 65_536
"""Most numbers of all members' residual streams on a CPU."""

CACHED_LOGITS = 2_048 * 256
"""Most numbers of all members' logits on a CPU: those of 2,048 rows with a vocabulary of bytes."""

MOST_ON_CPU = 16


def stack_limit(
    shape: Shape,
    batch_tokens: int,
    device: str = "cpu",
    *,
    optimizer: OptimizerKind = "adamw",
    share: float = 1.0,
    free_bytes: int | None = None,
) -> int:
    """Number of members of one stack that trains the most tokens per second.

    On a CPU the activations of all members should stay in the second-level cache. The limits on rows and on the
    residual stream were within about 5 % of the best stack for widths of 16 to 128 and batches of 128 and 256 tokens
    (`benchmarks/trainer.py`, on bytes); a larger vocabulary leaves room for fewer members. On a GPU a stack has as
    many members as fit in memory.

    Args:
        shape: The members' shape.
        batch_tokens: Tokens per step of one member.
        device: `cpu`, or a PyTorch device such as `cuda:0`.
        optimizer: The members' optimizer.
        share: Share of a GPU's memory for this process, above 0, at most 1.
        free_bytes: Free memory of the GPU; None asks the device.
    """
    if torch.device(device).type != "cpu":
        free = _free_bytes(device, share) if free_bytes is None else free_bytes
        return _members_that_fit(shape, memory_per_member(shape, batch_tokens, optimizer=optimizer), free)
    stream = CACHED_STREAM // (batch_tokens * shape.width)
    logits = CACHED_LOGITS // (batch_tokens * shape.vocab_size)
    return max(1, min(MOST_ON_CPU, CACHED_ROWS // batch_tokens, stream, logits))


def _free_bytes(device: str, share: float) -> int:
    """Memory of a GPU that this process may still take, including what PyTorch has cached of earlier stacks."""
    free, total = torch.cuda.mem_get_info(device)
    own = torch.cuda.memory_allocated(device)
    cached = torch.cuda.memory_reserved(device) - own
    return min(free + cached, int(share * total) - own)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of one member.

    Attributes:
        state: Parameters and moments, kept between updates.
        update: Peak of an update, without the state.
        lens: Peak of a measurement of the lenses, without the state.
    """

    state: int
    update: int
    lens: int

    @property
    def total(self) -> int:
        """Peak with the trunk, which is kept while a decay branch trains, and the copy of it where it ends."""
        return 3 * self.state + max(self.update, self.lens)


def memory_per_member(
    shape: Shape, batch_tokens: int, *, product_bytes: int = 2, optimizer: OptimizerKind = "adamw"
) -> Memory:
    """Estimates the bytes of one member in an update without compilation, which would take less.

    An update peaks either at the end of the forward pass, with the activations for the backward pass and the logits,
    or in the optimizer, with the gradients and its temporaries. A measurement of the lenses copies the parameters and
    holds the products of queries and keys of one sequence three times.

    Args:
        shape: The member's shape.
        batch_tokens: Tokens per step.
        product_bytes: p, 2 for bfloat16, 4 for float32.
        optimizer: The member's optimizer; Muon needs copies for its products.
    """
    parameters, lower = shape.parameters, product_bytes < FLOAT
    copies = product_bytes * parameters if lower else 0
    forward = copies + shape.depth * batch_tokens * _block_bytes(shape, product_bytes)
    logits = 2 * FLOAT * batch_tokens * shape.vocab_size  # And their probabilities.
    stream = 3 * FLOAT * batch_tokens * shape.width
    # AdamW: gradients, roots and steps. Muon: gradients, momenta and the copies in its products.
    update = 2 * FLOAT + 4 * product_bytes if optimizer == "muon" else 3 * FLOAT
    return Memory(
        state=3 * FLOAT * parameters,
        update=max(forward + logits + stream, update * parameters),
        lens=FLOAT * (parameters + 3 * (shape.head_count * shape.context + shape.vocab_size) * shape.context),
    )


def _members_that_fit(shape: Shape, memory: Memory, free_bytes: int) -> int:
    most = LARGEST_STACK
    if shape.experts is not None:
        most = min(most, MOST_GROUPS // shape.experts.count)
    return max(1, min(most, int(SHARE * free_bytes) // memory.total))


def _block_bytes(shape: Shape, product_bytes: int) -> int:
    """Bytes of one row and block that the forward pass keeps for the backward pass."""
    width, lower = shape.width, product_bytes < FLOAT
    # Two norms and their copies in the products' precision; the same for rotated queries and keys.
    normed = 2 * (2 * width) * (FLOAT + product_bytes if lower else FLOAT)
    # Queries, keys and values, the heads' outputs, and these concatenated; input and output of relu².
    passed = 5 * width + 2 * shape.hidden
    experts = shape.experts
    if experts is not None:
        # Copies of a token for its experts, and their outputs; input and output of their relu².
        passed += experts.top_k * (2 * width + 2 * experts.width)
    return normed + product_bytes * passed
