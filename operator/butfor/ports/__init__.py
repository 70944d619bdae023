"""The only doors to third parties: git, store, sandbox, environments, model, clock, artifacts."""
