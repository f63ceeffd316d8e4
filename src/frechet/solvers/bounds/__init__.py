"""Solvers of smooth problems with bounds; no point outside the bounds is ever evaluated."""
