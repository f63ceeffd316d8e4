"""Markov chains that draw from densities, one file a method."""
