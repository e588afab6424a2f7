"""The sentence of a divergence is read back as it was written."""

from __future__ import annotations

import pytest

from orchestrator.lenses import diverged_after, diverged_tokens


def test_the_tokens_of_a_divergence_are_read_back():
    told = diverged_after(20_480, "the loss is not finite; attention logits passed 50 at step 77")
    assert told.startswith("Diverged after 20480 tokens: the loss is not finite; attention logits")
    assert diverged_tokens(told) == 20_480


@pytest.mark.parametrize("reason", [None, "", "a coarse scan", "it Diverged after 12 tokens: no"])
def test_other_reasons_have_none(reason):
    assert diverged_tokens(reason) is None
