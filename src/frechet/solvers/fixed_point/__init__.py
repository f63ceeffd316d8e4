"""Solvers of equations: fixed points and roots."""
