"""How good a result is: numbers that people compare, differentiable where they can be."""

from frechet.metrics.barycenter import Barycenter as Barycenter
from frechet.metrics.barycenter import barycenter as barycenter
from frechet.metrics.frechet_distance import gaussian_frechet_distance as gaussian_frechet_distance
from frechet.metrics.frechet_distance import sample_frechet_distance as sample_frechet_distance
from frechet.metrics.monge_gap import monge_gap as monge_gap
from frechet.metrics.sinkhorn_divergence import sinkhorn_divergence as sinkhorn_divergence
from frechet.metrics.sliced_wasserstein import sliced_wasserstein as sliced_wasserstein
from frechet.metrics.sliced_wasserstein import wasserstein_1d as wasserstein_1d
from frechet.metrics.soft_sort import soft_rank as soft_rank
from frechet.metrics.soft_sort import soft_sort as soft_sort
from frechet.metrics.transport_cost import TransportCost as TransportCost
from frechet.metrics.transport_cost import transport_cost as transport_cost
