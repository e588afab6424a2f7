"""What a law answers: predictions, confirmations, formulas, both counts of parameters, the stable phase."""
