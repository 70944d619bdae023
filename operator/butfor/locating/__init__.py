"""From the slice and the history to ranked commits and functions, every term cited."""
