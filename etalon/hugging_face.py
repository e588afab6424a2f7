"""A callback that reports from a Hugging Face ``Trainer``. It needs transformers, of the training program's interpreter.

Python 3.8 and later.
"""

from __future__ import annotations

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
        if model is not None:
            program.model(**_sizes(model))

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
        """Save and end where Etalon asks for it."""
        if program.should_stop():
            control.should_save = True
            control.should_training_stop = True
        return control


def _report(state: Any, name: str, loss: Any) -> None:
    if loss is not None and state.is_world_process_zero:
        program.report(step=state.global_step, **{name: loss})


def _sizes(model: Any) -> dict[str, int]:
    """Parameters without embeddings and output head, and all of them. Shared ones are counted once."""
    outside = {id(weight) for part in _embeddings(model) for weight in part.parameters()}
    counts = {id(weight): weight.numel() for weight in model.parameters()}
    return {
        "params": sum(count for key, count in counts.items() if key not in outside),
        "params_total": sum(counts.values()),
    }


def _embeddings(model: Any) -> list[Any]:
    """Embeddings of tokens and positions, and the output head."""
    named = [
        part for part in model.modules() if "Embedding" in {kind.__name__ for kind in type(part).__mro__}
    ]
    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    return named + [part for part in ends if part is not None]
