"""From shape and timelines to the typed causal graph, every edge citing evidence."""
