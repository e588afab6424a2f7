"""The answers of a law: predictions, confirmations, formulas, both counts of parameters, the stable phase."""
