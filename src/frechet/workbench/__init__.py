"""Top floor: real problems, comparisons, claims and checks."""
