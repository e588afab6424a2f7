"""The JSON of the contract: a model per document, built from what the store holds."""
