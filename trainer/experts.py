"""A mixture of experts for a whole stack: routing of the tokens, and the experts' outputs.

No token is dropped and no expert is padded: the tokens of all members are sorted by expert, and one grouped product
(`torch.nn.functional.grouped_mm`) computes them all, so a member has the same outputs alone and in a stack.

| symbol | meaning |
|---|---|
| K | members of the stack |
| R | rows: tokens of one batch |
| E, k | experts of one block, experts of one token |
| W, H | width of the model and of one expert |
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.operators import dispatch, grouped_product, permute, squared_relu
from trainer.proxy_shape import Experts


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """The routing of one block.

    Attributes:
        chosen: Experts of each token, [K, R, k].
        weights: Their weights, [K, R, k]; they sum to k for each token; with k = 1 a weight is twice the score.
        loads: Each expert's share of all choices, float32 [K, E].
        penalty: The balancing loss of each member, [K]; 0 with a balancing bias.
    """

    chosen: Tensor
    weights: Tensor
    loads: Tensor
    penalty: Tensor


def route(logits: Tensor, bias: Tensor, experts: Experts) -> Routing:
    """Routes by sigmoid scores (DeepSeek-V3, arXiv 2412.19437, section 2.1.2); the bias affects the choice only.

    Args:
        logits: The router's output, float32 [K, R, E].
        bias: Added to the scores for the choice, [K, E].
        experts: The mixture.
    """
    members, rows, count = logits.shape
    scores = torch.sigmoid(logits)
    chosen = torch.topk(scores.detach() + bias[:, None], experts.top_k, dim=-1).indices
    kept = scores.gather(-1, chosen)
    # A single score divided by itself is always 1, and the router would have no gradient.
    total = kept.sum(-1, keepdim=True).clamp_min(1e-12) if experts.top_k > 1 else 0.5
    weights = kept * (experts.top_k / total)
    ones = torch.ones((), device=logits.device).expand(members, rows * experts.top_k)
    counts = torch.zeros(members, count, device=logits.device).scatter_add_(1, chosen.flatten(1), ones)
    loads = counts / (rows * experts.top_k)
    if experts.balance == "bias":
        return Routing(chosen=chosen, weights=weights, loads=loads, penalty=torch.zeros_like(loads[:, 0]))
    shares = (scores / scores.sum(-1, keepdim=True).clamp_min(1e-12)).mean(1)
    penalty = experts.strength * count * (loads * shares).sum(-1)
    return Routing(chosen=chosen, weights=weights, loads=loads, penalty=penalty)


def mixture(x: Tensor, routing: Routing, inwards: Tensor, outwards: Tensor) -> Tensor:
    """The weighted sum of the chosen experts' outputs, [K, R, W].

    Args:
        x: Normalized rows [K, R, W].
        routing: Experts and weights of each row.
        inwards: First matrices of the experts, [K, E, W, H].
        outwards: Second matrices, [K, E, H, W].
    """
    members, count, width, _ = inwards.shape
    rows, top_k = routing.chosen.shape[1:]
    member = torch.arange(members, device=x.device)[:, None, None]
    order = torch.argsort((routing.chosen + count * member).flatten(), stable=True)
    inverse = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=x.device))
    counts = (routing.loads.detach() * (rows * top_k)).round()
    ends = counts.flatten().cumsum(0, dtype=torch.float64).to(torch.int32)
    spread = dispatch(x.flatten(0, 1), order, inverse, top_k)
    hidden = squared_relu(grouped_product(spread, inwards.flatten(0, 1), ends))
    mixed = grouped_product(hidden, outwards.flatten(0, 1), ends)
    back = permute(mixed, inverse, order).view(members, rows, top_k, width)
    return (back * routing.weights[..., None].to(back.dtype)).sum(2)
