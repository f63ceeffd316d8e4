"""Derivatives that plain automatic differentiation does not give."""

from frechet.derivatives.curvature import Spectrum as Spectrum
from frechet.derivatives.curvature import Tridiagonal as Tridiagonal
from frechet.derivatives.curvature import directional_sharpness as directional_sharpness
from frechet.derivatives.curvature import hessian as hessian
from frechet.derivatives.curvature import hvp as hvp
from frechet.derivatives.curvature import lanczos as lanczos
from frechet.derivatives.curvature import one_one_norm as one_one_norm
from frechet.derivatives.curvature import stochastic_lanczos as stochastic_lanczos
from frechet.derivatives.local_minimax import MinimaxCurvature as MinimaxCurvature
from frechet.derivatives.local_minimax import minimax_curvature as minimax_curvature
from frechet.derivatives.perturbed import perturbed as perturbed
from frechet.derivatives.perturbed import perturbed_max as perturbed_max
