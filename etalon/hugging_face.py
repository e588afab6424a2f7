"""A callback that reports from a Hugging Face ``Trainer``. It needs transformers, of the training program's interpreter.

Python 3.8 and later.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from etalon import program

try:
    from transformers import TrainerCallback
except ModuleNotFoundError as error:
    if error.name != "transformers":
        raise
    raise ModuleNotFoundError(
        "etalon.HuggingFace is a callback of transformers, which this interpreter does not have: pip install "
        "transformers",
        name="transformers",
    ) from error


class HuggingFace(TrainerCallback):  # type: ignore[misc]  # transformers is not installed where types are checked
    """Reports the size of the model, losses and checkpoints, and stops when Etalon asks for it.

    ``Trainer(…, callbacks=[etalon.HuggingFace()])``. Without a run of Etalon it reports to nobody.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Report the size of the model; let losses that are not a number through, which Trainer hides by default."""
        args.logging_nan_inf_filter = False
        sizes = None if model is None else _sizes(model)
        if sizes is not None:
            program.model(**sizes)
        elif os.environ.get("ETALON_REPORT"):
            program.log.warning(
                "etalon: the model's parameters cannot be counted; report them: etalon.model(params=…)"
            )

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Report a training loss, the mean since the last one."""
        _report(state, "loss", (logs or {}).get("loss"))

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Report a held-out loss."""
        _report(state, "validation_loss", (metrics or {}).get("eval_loss"))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Report a checkpoint."""
        if state.is_world_process_zero and "batch_tokens" in program.run:
            tokens = state.global_step * program.run["batch_tokens"]
            program.saved(f"{args.output_dir}/checkpoint-{state.global_step}", tokens=tokens)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Save and end where Etalon asks for it, on all ranks at the same step."""
        if os.environ.get("ETALON_STOP") and _agreed(args, program.should_stop()):
            control.should_save = True
            control.should_training_stop = True
        return control


def _report(state: Any, name: str, loss: Any) -> None:
    if loss is not None and state.is_world_process_zero:
        program.report(step=state.global_step, **{name: loss})


def _agreed(args: Any, stop: bool) -> bool:
    """Whether rank 0 stops, on all ranks: each looks at a moment of its own."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return stop
    word = torch.tensor(int(stop), device=args.device)
    torch.distributed.broadcast(word, src=0)
    return bool(word.item())


def _sizes(model: Any) -> dict[str, int] | None:
    """Parameters without embeddings and output head, and all of them. Shared ones are counted once.

    None if they cannot be counted: the model does not name its embeddings and its head, or FSDP has cut it in shares.
    """
    try:
        ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    except (AttributeError, NotImplementedError):
        return None
    if _parts(model, "FullyShardedDataParallel"):
        return None
    named = _parts(model, "Embedding")
    outside = {id(weight) for part in (*named, *ends) if part is not None for weight in part.parameters()}
    # Under ZeRO-3 a process holds a share of each weight, which knows its whole size.
    counts = {id(weight): getattr(weight, "ds_numel", weight.numel()) for weight in model.parameters()}
    return {
        "params": sum(count for key, count in counts.items() if key not in outside),
        "params_total": sum(counts.values()),
    }


def _parts(model: Any, kind: str) -> list[Any]:
    """The modules of a class of this name."""
    return [part for part in model.modules() if kind in {one.__name__ for one in type(part).__mro__}]
