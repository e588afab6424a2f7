"""The REST resources of the contract, a module each."""
