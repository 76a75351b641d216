"""The density room: finite elements on the sphere of feature directions (DOLFINx, PETSc, SLEPc)."""
