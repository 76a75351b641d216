"""The finite-lambda room: the mean-field equation of infinitely many neurons, and its limit."""
