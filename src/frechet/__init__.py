"""Differentiable optimisation in JAX: a problem knows what it means to be solved."""

__version__ = "0.1.0"
