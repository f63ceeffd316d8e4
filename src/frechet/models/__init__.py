"""Models as Equinox modules: convex potentials, gradients of convex functions, maps, and fitting them."""

from frechet.models.affine import AffineMap as AffineMap
from frechet.models.affine import gaussian_map as gaussian_map
from frechet.models.convex_potentials import ConvexPotentials as ConvexPotentials
from frechet.models.convex_potentials import CycleFit as CycleFit
from frechet.models.curl import curl as curl
from frechet.models.icgn import ICGN as ICGN
from frechet.models.icgn import DeepICGN as DeepICGN
from frechet.models.icnn import ICNN as ICNN
from frechet.models.icnn import GradientMap as GradientMap
from frechet.models.maps import Residual as Residual
from frechet.models.transport_map import TransportMap as TransportMap
