"""The script of ../plain in several processes: three lines more. Each takes its share of the batch; none saves.

torchrun --standalone --nproc-per-node=2 train.py --lr=2e-2 --batch_size=8
"""

import argparse
import os
from pathlib import Path

import torch
from torch import Tensor, nn

CONTEXT = 64
VOCABULARY = 128
DEPTH = 2
WARMUP_STEPS = 16


class CharacterModel(nn.Module):
    """A causal transformer over ASCII codes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Embedding(CONTEXT, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, width // 8, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(DEPTH)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, windows: Tensor) -> Tensor:
        """Mean loss in nats a character of windows, (batch, CONTEXT + 1)."""
        hidden = self.characters(windows[:, :-1]) + self.positions.weight
        mask = nn.Transformer.generate_square_subsequent_mask(CONTEXT)
        for block in self.blocks:
            hidden = block(hidden, mask, is_causal=True)
        logits = self.head(self.norm(hidden))
        return nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, required=True)
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--decay_steps", type=int, default=51)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out_dir", type=Path, default=Path("out"))
    return parser.parse_args()


def text_windows() -> tuple[Tensor, Tensor]:
    """Windows to train on, in an order of the seed, and 256 held-out ones: (count, CONTEXT + 1) each."""
    sources = sorted(Path(os.__file__).parent.glob("*.py"))
    text = torch.tensor(bytearray(b"".join(path.read_bytes() for path in sources)))
    windows = text.clamp(max=VOCABULARY - 1).long().unfold(0, CONTEXT + 1, CONTEXT + 1)
    training = windows[torch.arange(len(windows)) % 128 != 0]
    return training[torch.randperm(len(training))], windows[::128][:256]


def main() -> None:
    """Train one model with warmup, a constant rate and a linear decay; print its losses."""
    args = arguments()
    args.out_dir.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    windows, held_out = text_windows()
    torch.distributed.init_process_group("gloo")
    windows = windows[torch.distributed.get_rank() :: torch.distributed.get_world_size()]
    model = CharacterModel(args.width)
    size = sum(weight.numel() for part in (model.blocks, model.norm) for weight in part.parameters())
    print(f"parameters without embeddings: {size}")
    model = nn.parallel.DistributedDataParallel(model)  # type: ignore[assignment]
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95), weight_decay=0.1)
    step = 0
    while step < args.steps:
        rise, fall = (step + 1) / WARMUP_STEPS, (args.steps - step) / max(1, args.decay_steps)
        optimizer.param_groups[0]["lr"] = args.lr * min(1.0, rise, fall)
        rows = torch.arange(step * args.batch_size, (step + 1) * args.batch_size) % len(windows)
        loss = model(windows[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 10 == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)
    with torch.no_grad():
        print(f"step {step} validation loss {model(held_out).item():.4f}", flush=True)


if __name__ == "__main__":
    main()
