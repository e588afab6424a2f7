"""Hugging Face's Trainer on a tiny random Llama: with Etalon, one import and one callback.

It needs transformers and accelerate, in a virtual environment of its own:

    python3 -m venv .venv && .venv/bin/pip install torch transformers accelerate
    .venv/bin/python train.py --lr=1e-2 --steps=256 --width=32
"""

import argparse
import os
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

import etalon

CONTEXT = 64
VOCABULARY = 128


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


def text_windows() -> list[dict[str, torch.Tensor]]:
    """The source of Python's standard library as windows of ASCII codes, (CONTEXT,) each."""
    sources = sorted(Path(os.__file__).parent.glob("*.py"))
    text = torch.tensor(bytearray(b"".join(path.read_bytes() for path in sources)))
    windows = text.clamp(max=VOCABULARY - 1).long().unfold(0, CONTEXT, CONTEXT)
    return [{"input_ids": window, "labels": window} for window in windows]


def main() -> None:
    """Train one model with warmup, a constant rate and a linear decay."""
    args = arguments()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    shape = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=args.width,
        intermediate_size=4 * args.width,
        num_hidden_layers=2,
        num_attention_heads=args.width // 8,
        max_position_embeddings=CONTEXT,
    )
    windows = text_windows()
    trainer = Trainer(
        model=LlamaForCausalLM(shape),
        train_dataset=[window for number, window in enumerate(windows) if number % 128],
        eval_dataset=windows[::128][:256],
        callbacks=[etalon.HuggingFace()],
        args=TrainingArguments(
            output_dir=str(args.out_dir),
            learning_rate=args.lr,
            max_steps=args.steps,
            warmup_steps=16,
            lr_scheduler_type="warmup_stable_decay",
            lr_scheduler_kwargs={"num_decay_steps": args.decay_steps, "decay_type": "linear"},
            per_device_train_batch_size=args.batch_size,
            per_device_eval_batch_size=64,
            adam_beta2=0.95,
            weight_decay=0.1,
            seed=args.seed,
            logging_steps=10,
            save_steps=50,
            disable_tqdm=True,
            report_to="none",
            use_cpu=True,
        ),
    )
    last = get_last_checkpoint(args.out_dir) if args.out_dir.exists() else None
    trainer.train(resume_from_checkpoint=last)
    trainer.evaluate()


if __name__ == "__main__":
    main()
