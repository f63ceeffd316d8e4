"""Convex functions with a known proximal map; a set is its indicator."""

from frechet.convex.box import Box as Box
from frechet.convex.elastic_net import ElasticNet as ElasticNet
from frechet.convex.function import Function as Function
from frechet.convex.l1 import L1 as L1
from frechet.convex.nonnegative import NonNegative as NonNegative
from frechet.convex.separable import Separable as Separable
from frechet.convex.squared_l2 import SquaredL2 as SquaredL2
from frechet.convex.zero import Zero as Zero
