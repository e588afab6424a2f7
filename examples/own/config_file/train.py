"""The script of ../plain with all its values in one YAML file. It knows nothing of Etalon, and takes no other argument.

python train.py --config-file config.yaml
"""

import argparse
import os
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

CONTEXT = 64
VOCABULARY = 128
DEPTH = 2


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


def configuration() -> Any:
    """The values of the file that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config-file", type=Path, required=True)
    return yaml.safe_load(parser.parse_args().config_file.read_text())


def text_windows() -> tuple[Tensor, Tensor]:
    """Windows to train on, in an order of the seed, and 256 held-out ones: (count, CONTEXT + 1) each."""
    sources = sorted(Path(os.__file__).parent.glob("*.py"))
    text = torch.tensor(bytearray(b"".join(path.read_bytes() for path in sources)))
    windows = text.clamp(max=VOCABULARY - 1).long().unfold(0, CONTEXT + 1, CONTEXT + 1)
    training = windows[torch.arange(len(windows)) % 128 != 0]
    return training[torch.randperm(len(training))], windows[::128][:256]


def main() -> None:
    """Train one model with warmup, a constant rate and a linear decay; print its losses."""
    config = configuration()
    general, tokens, schedule = config["general"], config["tokens"], config["optimizer"]["schedule"]
    folder, steps, batch_size = Path(general["folder"]), tokens["train_steps"], tokens["batch_size"]
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(general["seed"])
    torch.set_num_threads(1)
    windows, held_out = text_windows()
    model = CharacterModel(config["model"]["width"])
    size = sum(weight.numel() for part in (model.blocks, model.norm) for weight in part.parameters())
    print(f"parameters without embeddings: {size}")
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=schedule["learning_rate"],
        betas=(0.9, 0.95),
        weight_decay=config["optimizer"]["weight_decay"],
    )
    step = 0
    while step < steps:
        rise, fall = (step + 1) / schedule["warmup_steps"], (steps - step) / max(1, schedule["decay_steps"])
        optimizer.param_groups[0]["lr"] = schedule["learning_rate"] * min(1.0, rise, fall)
        rows = torch.arange(step * batch_size, (step + 1) * batch_size) % len(windows)
        loss = model(windows[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 10 == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)
    with torch.no_grad():
        print(f"step {step} validation loss {model(held_out).item():.4f}", flush=True)
    torch.save(model.state_dict(), folder / "model.pt")


if __name__ == "__main__":
    main()
