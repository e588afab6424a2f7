"""The tokenizer of a corpus: byte-level byte pairs, which encode every text without loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

END_OF_TEXT: Final = "<|endoftext|>"
"""The token with id 0, at the end of every file. The same characters within a text are encoded as text."""

LEAST_VOCABULARY: Final = 257
"""The 256 bytes and the end of text."""

MOST_VOCABULARY: Final = 1 << 20
"""Far above any in use for language models."""

SAMPLE_BYTES: Final = 1 << 28
"""Most text for the training of a tokenizer: the library counts in 32 bits, and its memory grows with the number of
distinct words."""

_WORDS: Final = (
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}{1,64}| ?\p{N}{1,64}| ?[^\s\p{L}\p{N}]{1,64}|\s{1,64}(?!\S)|\s{1,64}"
)
"""GPT-2's division into words, here of at most 64 characters, so that a text without spaces needs little memory."""


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """Trains byte pairs; the same texts give the same tokenizer.

    Args:
        texts: the texts to count pairs in.
        vocab_size: most tokens; there are fewer if no other pair occurs twice.
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
    """Loads a tokenizer that encodes the characters of its special token in a text as text."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer
