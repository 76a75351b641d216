"""The finite-width room: particles whose outer weights are optimal, or nearly so."""
