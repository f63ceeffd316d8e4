"""Solvers of saddle points, variational inequalities and monotone inclusions, one file a method."""
