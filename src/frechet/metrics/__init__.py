"""How good a result is: numbers that people compare, differentiable where they can be."""

from frechet.metrics.frechet_distance import gaussian_frechet_distance as gaussian_frechet_distance
from frechet.metrics.frechet_distance import sample_frechet_distance as sample_frechet_distance
from frechet.metrics.sinkhorn_divergence import sinkhorn_divergence as sinkhorn_divergence
