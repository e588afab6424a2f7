"""Presets on lines in the formats of their trainers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.errors import BadInput
from orchestrator.programs.declared_losses import OutputSource
from orchestrator.programs.definition import ProgramDefinition
from orchestrator.programs.presets import PRESETS
from orchestrator.programs.registry import read_trainers

Loss = tuple[str, int, float]

EXAMPLES: dict[str, tuple[str, list[Loss]]] = {
    "nanogpt": (
        """\
number of parameters: 0.03M
step 0: train loss 4.2874, val loss 4.2823
iter 0: loss 4.2651, time 5021.99ms, mfu -100.00%
iter 50: loss nan, time 10.01ms, mfu 0.00%
step 200: train loss 3.1231, val loss 3.0681
""",
        [
            ("validation", 0, 4.2823),
            ("training", 0, 4.2651),
            ("training", 50, float("nan")),
            ("validation", 200, 3.0681),
        ],
    ),
    "megatron": (
        """\
 [2026-08-01 09:44:55] iteration       10/     100 | consumed samples:          320 | elapsed time per iteration (ms): 3902.7 | learning rate: 6.0E-05 | global batch size:    32 | lm loss: 1.053246E+01 | loss scale: 1.0 | grad norm: 2.555 | number of skipped iterations:   0 | number of nan iterations:   0 |
 validation loss at iteration 100 | lm loss value: 7.174200E+00 | lm loss PPL: 1.305315E+03 |
 validation loss at iteration 110 on validation set | lm loss value: 7.1E+00 | lm loss PPL: 1.2E+03 |
 validation loss at iteration 110 on test set | lm loss value: 9.1E+00 | lm loss PPL: 1.2E+04 |
""",
        [("training", 10, 10.53246), ("validation", 100, 7.1742), ("validation", 110, 7.1)],
    ),
    "torchtitan": (
        """\
[titan] 2026-08-01 09:44:55,101 - root - INFO - step:  1  loss:  8.12345  grad_norm:  1.4321  memory:  1.02GiB(4.33%)  tps: 12,345
[titan] 2026-08-01 09:44:59,101 - root - INFO - step: 10  loss:      nan  grad_norm:      nan  memory:  1.02GiB(4.33%)
[titan] 2026-08-01 09:45:00,101 - root - INFO - validate step:  5  loss:  7.1234  memory:  1.02GiB(4.33%)
""",
        [("training", 1, 8.12345), ("training", 10, float("nan")), ("validation", 5, 7.1234)],
    ),
    "litgpt": (
        """\
Epoch 1 | iter 8 step 1 | loss train: 10.979, val: n/a | iter time: 3194.35 ms (step) remaining time: 0:01:02
Epoch 1 | iter 16 step 2 | loss train:  9.884, val: n/a | iter time:   28.05 ms (step)
iter 16: val loss 9.4123, val time: 102.11 ms
Epoch 1 | iter 24 step 3 | loss train:  9.100, val: 9.412 | iter time:   28.05 ms (step)
Final evaluation | val loss: 9.001 | val ppl: 8111.191
""",
        [
            ("training", 1, 10.979),
            ("training", 2, 9.884),
            ("validation", 2, 9.4123),
            ("training", 3, 9.1),
            ("validation", 3, 9.001),
        ],
    ),
    "levanter": (
        """\
2026-08-01T09:44:55 INFO {"tracker": "json_logger", "event": "hparams", "hparams": {"train/loss": 1}}
2026-08-01T09:44:56 INFO {"tracker": "json_logger", "event": "log", "step": 10, "metrics": {"train/loss": 3.4125, "optim/learning_rate": 1e-3}}
2026-08-01T09:44:57 INFO {"tracker": "json_logger", "event": "log", "step": 10, "metrics": {"eval/loading_time": 0.1, "eval/loss": 3.5011}}
2026-08-01T09:44:58 INFO {"tracker": "json_logger", "event": "log", "step": 11, "metrics": {"train/loss": NaN}}
""",
        [("training", 10, 3.4125), ("validation", 10, 3.5011), ("training", 11, float("nan"))],
    ),
    "maxtext": (
        """\
I0601 metric_logger.py:181] completed step: 9, seconds: 0.660, TFLOP/s/device: 1.0, Tokens/s/device: 49639.2, total_weights: 262144, loss: 3.123, lm_loss: 3.101, perplexity: 22.2
completed profiler activation/deactivation step: 10, seconds: 1.0, TFLOP/s/device: 1.0, total_weights: 262144, loss: 3.100
Completed eval after train step 10, loss=3.201, total_weights=1000
""",
        [("training", 9, 3.123), ("training", 10, 3.1), ("validation", 10, 3.201)],
    ),
    "composer": (
        """\
[batch=5/10]:
\t Train time/batch: 4
\t Train loss/train/total: 4.2000
\t Train metrics/train/LanguageCrossEntropy: 4.1000
[Eval batch=1/20] Eval on eval data
[Eval batch=20/20] Eval on eval data:
\t Eval metrics/eval/LanguageCrossEntropy: 4.3000
[batch=6/10]:
         Train LanguageCrossEntropy: 4.0000
""",
        [("training", 5, 4.1), ("validation", 5, 4.3), ("training", 6, 4.0)],
    ),
    "olmo-core": (
        """\
2026-08-01 12:00:01 INFO [olmo_core.train.callbacks.console_logger:68] [step=10/100,epoch=1,eta=5h11m]
    optim/total grad norm=1.234
    train/CE loss=6.234
    train/PPL=511.9
2026-08-01 12:00:02 INFO [olmo_core.train.callbacks.evaluator_callback:68] Eval metrics:
    eval/lm/c4_en-validation/CE loss=6.301
    eval/lm/c4_en-validation/PPL=545.1
""",
        [("training", 10, 6.234), ("validation", 10, 6.301)],
    ),
    "nanotron": (
        """\
08/01/2026 12:00:01 [INFO|DP=0|PP=0|TP=0]: iteration: 10 / 100 | consumed_tokens: 1.2M | elapsed_time_per_iteration_ms: 31.2 | global_batch_size: 1.02K | lm_loss: 3.45 | lr: 0.0003 | grad_norm: 0.5
""",
        [("training", 10, 3.45)],
    ),
}

DIVERGED = {
    "megatron": " iteration 20/ 100 | consumed samples: 1 | loss scale: 1.0 | number of skipped iterations:   1 | number of nan iterations:   1 |",
    "levanter": "RuntimeError: Loss is NaN",
    "maxtext": "Aborting training due to NaN loss.",
    "composer": "RuntimeError: Train loss contains a NaN.",
    "olmo-core": "RuntimeError: nan loss encountered at step 12",
}


def definition(preset: str) -> ProgramDefinition:
    return ProgramDefinition.model_validate({"command": ["train"], "preset": preset})


def losses_in(text: str, found: ProgramDefinition) -> list[Loss]:
    """The losses in an output: those without a step of their own are at the last position."""
    losses = found.losses
    sources = {"training": losses.training, "validation": losses.validation, "position": losses.position}
    position, read = 0, []
    for line in text.splitlines():
        for name, source in sources.items():
            match = re.search(source.regex, line) if isinstance(source, OutputSource) else None
            groups = {} if match is None else match.groupdict()
            position = int(groups.get("step", position))
            if name != "position" and match is not None:
                read.append((name, position, float(groups["value"])))
    return read


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_reads_the_losses_of_its_trainer(preset: str) -> None:
    text, expected = EXAMPLES[preset]
    found = definition(preset)
    assert str(losses_in(text, found)) == str(expected)
    for pattern in found.diverged.output:
        assert re.search(pattern, DIVERGED[preset])
        assert not re.search(pattern, text)
    assert bool(found.diverged.output) == (preset in DIVERGED)


def test_a_field_of_the_registration_goes_before_the_preset() -> None:
    found = ProgramDefinition.model_validate(
        {"command": ["train"], "preset": "nanogpt", "losses": {"training": {"output": "{step} {value}"}}}
    )
    assert found.losses.validation is None
    assert found.resume is not None


def test_hugging_face_has_a_callback_and_no_preset(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    file = tmp_path / "mine.yaml"
    file.write_text("mine: {command: [python, train.py], preset: hf}\n")
    file.chmod(0o600)
    with pytest.raises(BadInput, match=r"preset \(line 1\): hf fills nothing: .*etalon\.HuggingFace\(\)"):
        read_trainers(file).get("mine")
