"""Turns text into corpora: a tokenizer trained on it, and all of it as token ids in one file that proxies map."""
