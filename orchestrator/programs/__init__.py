"""Programs of the operator that train models: their registrations, and how a run's values reach them."""
