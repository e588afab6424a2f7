"""Prepares corpora from text: trains a tokenizer and writes all text as token ids to one file, which workers map."""
