"""Tests of reproducing."""
