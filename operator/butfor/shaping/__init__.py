"""From timelines to a bounded, normalised shape that is the same bytes for the same input."""
