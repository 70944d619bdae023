"""Counterfactual claims, and the smallest set of changes that heals."""
