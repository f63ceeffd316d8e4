"""Gradients that plain automatic differentiation does not give."""

from frechet.derivatives.perturbed import perturbed as perturbed
from frechet.derivatives.perturbed import perturbed_max as perturbed_max
