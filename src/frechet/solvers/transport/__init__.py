"""Solvers of optimal transport problems."""
