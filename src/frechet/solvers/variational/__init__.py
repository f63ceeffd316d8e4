"""Solvers of this kind, one file a method."""
