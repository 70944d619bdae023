"""The agent: one process per node that plans, loads, reads, enriches, masks and writes what the kernel saw."""
