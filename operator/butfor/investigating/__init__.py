"""Stage order, budgets and claim checks; the only place that wires stages together."""
