"""The comparison at a held-out scale: Fitting, Transfer and further contenders, and which paradigm to trust there."""
