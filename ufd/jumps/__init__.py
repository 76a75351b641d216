"""Few neurons on an interval: the jumps of a function, found at two timescales."""
