"""From the causal graph to the smallest set of exogenous nodes predicted to heal the failure."""
