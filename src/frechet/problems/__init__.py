"""Problem kinds: each says which oracles it offers and what it means to be solved."""

from frechet.problems.bilevel import Bilevel as Bilevel
from frechet.problems.bilevel import BilevelPoint as BilevelPoint
from frechet.problems.bilevel import FiniteSumBilevel as FiniteSumBilevel
from frechet.problems.bounded import Bounded as Bounded
from frechet.problems.composite import Composite as Composite
from frechet.problems.constrained import Constrained as Constrained
from frechet.problems.constrained import KKTPoint as KKTPoint
from frechet.problems.equations import FixedPoint as FixedPoint
from frechet.problems.equations import Root as Root
from frechet.problems.finite_sum import FiniteSum as FiniteSum
from frechet.problems.finite_sum import Mean as Mean
from frechet.problems.game import Game as Game
from frechet.problems.inclusion import FiniteSumInclusion as FiniteSumInclusion
from frechet.problems.inclusion import Inclusion as Inclusion
from frechet.problems.least_squares import LeastSquares as LeastSquares
from frechet.problems.linear_composite import LinearComposite as LinearComposite
from frechet.problems.linear_composite import PrimalDual as PrimalDual
from frechet.problems.multi_block import MultiBlockBilevel as MultiBlockBilevel
from frechet.problems.quadratic_program import QuadraticProgram as QuadraticProgram
from frechet.problems.saddle import FiniteSumSaddle as FiniteSumSaddle
from frechet.problems.saddle import Saddle as Saddle
from frechet.problems.saddle import SaddlePoint as SaddlePoint
from frechet.problems.training import Target as Target
from frechet.problems.training import Training as Training
from frechet.problems.tuning import Tuning as Tuning
