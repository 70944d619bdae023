"""The demo: a small shop whose histories are planted with faults, written as ordinary incidents.

Nothing outside this package knows the shop. What it writes is read by the same code as anyone's incident.
"""
