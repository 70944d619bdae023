"""From a bundle or OTLP on the wire to Arrow tables and the store."""
