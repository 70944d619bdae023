"""The command line: arguments in, exit codes out.

Exit codes: 0 done (for `investigate`: a verdict), 1 our own failure, 2 usage, 3 Inconclusive, 130 interrupted.
"""
