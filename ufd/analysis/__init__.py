"""Top floor: what was found, and how it compares with theory. Reads results only."""
