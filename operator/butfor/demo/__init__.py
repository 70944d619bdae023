"""The shop, its services and its planted histories: ordinary incidents, nothing more."""
