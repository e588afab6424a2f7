"""The tokenizer of a corpus: byte-level byte pairs, so that every text can be written in it and read back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

END_OF_TEXT: Final = "<|endoftext|>"
"""The token with id 0, after the last of every file. The same letters within a text are ordinary ones."""

LEAST_VOCABULARY: Final = 257
"""The 256 bytes and the end of a text."""

MOST_VOCABULARY: Final = 1 << 20
"""Far above any in use for language models."""

SAMPLE_BYTES: Final = 1 << 28
"""Most text that a tokenizer is trained on, evenly spread: counts of the library are of 32 bits, and its memory
grows with the distinct words."""

_WORDS: Final = (
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}{1,64}| ?\p{N}{1,64}| ?[^\s\p{L}\p{N}]{1,64}|\s{1,64}(?!\S)|\s{1,64}"
)
"""How GPT-2 cuts a text into words, here of at most 64 letters: no text without spaces can cost all memory."""


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """Train byte pairs; the same texts give the same tokenizer.

    Args:
        texts: what to count pairs in.
        vocab_size: most tokens; fewer where no other pair occurs twice.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer that was saved, set to take what looks like its special token in a text for plain letters."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer
