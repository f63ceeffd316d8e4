"""Ground costs and regularisers: what a transport problem is made of."""

from frechet.transport.cost_functions import Cosine as Cosine
from frechet.transport.cost_functions import CostFunction as CostFunction
from frechet.transport.cost_functions import Euclidean as Euclidean
from frechet.transport.cost_functions import PowerNorm as PowerNorm
from frechet.transport.cost_functions import SquaredEuclidean as SquaredEuclidean
from frechet.transport.cost_matrix import CostMatrix as CostMatrix
from frechet.transport.entropic import Entropic as Entropic
from frechet.transport.grid import Grid as Grid
from frechet.transport.ground_cost import GroundCost as GroundCost
from frechet.transport.point_cloud import PointCloud as PointCloud
from frechet.transport.quadratic import Quadratic as Quadratic
from frechet.transport.quadratic import TopK as TopK
from frechet.transport.regulariser import Regulariser as Regulariser
