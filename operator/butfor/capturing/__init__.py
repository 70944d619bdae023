"""From a running service to a capture bundle: injection, edge proxy, redaction, atomic writing."""
