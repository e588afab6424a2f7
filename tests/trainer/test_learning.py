import pytest
import torch

from trainer import FinishedEvent, Shape, Training


def test_a_tiny_model_learns_far_more_than_the_unigram(corpus, make_job):
    (end,) = [
        event
        for event in Training(make_job([1e-2], (500,), shape=Shape(width=16, depth=2)), corpus).advance()
        if isinstance(event, FinishedEvent)
    ]
    assert end.tokens == 500 * 128
    assert end.loss < corpus.unigram_entropy - 0.6
    assert end.loss < end.trunk_loss


def test_a_call_stops_after_about_the_given_seconds(corpus, make_job):
    training, calls = Training(make_job([1e-3, 4e-3], (60, 90)), corpus), 0
    while not training.done:
        training.advance(seconds=0.02)
        calls += 1
    assert calls > 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this PyTorch sees no GPU")
def test_a_gpu_learns_and_resumes_alike(corpus, make_job):
    job = make_job([1e-3, 1e-2], (300,), shape=Shape(width=32, depth=2))
    on_cpu = [e for e in Training(job, corpus).advance() if isinstance(e, FinishedEvent)]
    first = Training(job, corpus, device="cuda")
    first.advance(steps=100)
    second = Training(job, corpus, state=first.state(), device="cuda")
    on_gpu = [e for e in second.advance() if isinstance(e, FinishedEvent)]
    assert [e.loss for e in on_gpu] == pytest.approx([e.loss for e in on_cpu], abs=0.05)
