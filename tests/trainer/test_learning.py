import sys

import pytest
import torch

from trainer import Finished, Points, Shape, Training
from trainer.__main__ import main


def test_a_tiny_model_learns_far_more_than_the_unigram(corpus, make_job):
    (end,) = [
        event
        for event in Training(make_job([1e-2], (500,), shape=Shape(width=16, depth=2)), corpus).advance()
        if isinstance(event, Finished)
    ]
    assert end.tokens == 500 * 128
    assert end.loss < corpus.unigram_entropy - 0.6
    assert end.loss < end.trunk_loss


def test_losses_fall_along_the_curve(corpus, make_job):
    events = Training(make_job([4e-3], (160,)), corpus).advance()
    losses = [
        loss
        for event in events
        if isinstance(event, Points) and event.horizon is None
        for loss in event.losses
    ]
    assert len(losses) == 8
    assert losses[0] > 4.0
    assert losses[-1] < losses[0] - 1.0


def test_progress_rises_to_one_in_pieces_of_about_the_time_asked(corpus, make_job):
    training = Training(make_job([1e-3, 4e-3], (60, 90)), corpus)
    seen = [training.progress]
    while not training.done:
        training.advance(seconds=0.02)
        seen.append(training.progress)
    assert seen[0] == 0.0
    assert seen[-1] == 1.0
    assert seen == sorted(seen)
    assert len(seen) > 2


def test_the_command_line_prints_a_row_for_each_run(monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["trainer", "--rates", "0.01", "1e30", "--tokens", "25600", "--depth", "1"]
    )
    assert main() == 0
    printed = capsys.readouterr().out
    assert "3,072 parameters" in printed
    assert "25,600" in printed
    assert "diverged: the loss is not finite" in printed


def test_the_command_line_refuses_a_bad_shape(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["trainer", "--width", "33"])
    assert main() == 2
    assert "width is 33" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this PyTorch sees no GPU")
def test_a_gpu_learns_and_resumes_alike(corpus, make_job):
    job = make_job([1e-3, 1e-2], (300,), shape=Shape(width=32, depth=2))
    on_cpu = [e for e in Training(job, corpus).advance() if isinstance(e, Finished)]
    first = Training(job, corpus, device="cuda")
    first.advance(steps=100)
    second = Training.resume(job, corpus, first.state(), device="cuda")
    on_gpu = [e for e in second.advance() if isinstance(e, Finished)]
    assert [e.loss for e in on_gpu] == pytest.approx([e.loss for e in on_cpu], abs=0.05)
