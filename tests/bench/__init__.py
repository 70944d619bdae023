"""What `make bench` measures: scripts, not tests; each figure is a ratio of two times or counts of one run.

PYTHONPATH=tests python -m bench [--only NAME] [--json out/bench.json]
"""
