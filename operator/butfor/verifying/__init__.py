"""Checks that a patch must pass before anyone may call it a fix."""
