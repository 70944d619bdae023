"""Runs incidents end to end and scores verdicts against their truth."""
