"""The frozen types that are handed from room to room; no I/O lives here."""
