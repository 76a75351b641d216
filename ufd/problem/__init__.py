"""Ground floor: what the problem is. NumPy and SciPy only; no mesh, no rank, no time."""
