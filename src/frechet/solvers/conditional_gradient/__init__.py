"""Methods that ask a set for its least point in a direction, and never for a projection."""
