"""The JSON of the contract: one model per document, without the store. The core fills them, the API serves them, clients read them."""
