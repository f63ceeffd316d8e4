"""``jaxopt.ScipyMinimize`` and its like, by the name of JAXopt's module."""

from frechet.compat.jaxopt.scipy_bridge import (
    LbfgsInvHessProductPyTree as LbfgsInvHessProductPyTree,
)
from frechet.compat.jaxopt.scipy_bridge import jnp_to_onp as jnp_to_onp
from frechet.compat.jaxopt.scipy_bridge import make_jac_jnp_to_onp as make_jac_jnp_to_onp
from frechet.compat.jaxopt.scipy_bridge import make_onp_to_jnp as make_onp_to_jnp
from frechet.compat.jaxopt.scipy_bridge import pytree_topology_from_example as pytree_topology_from_example
from frechet.compat.jaxopt.scipy_least_squares import ScipyBoundedLeastSquares as ScipyBoundedLeastSquares
from frechet.compat.jaxopt.scipy_least_squares import ScipyLeastSquares as ScipyLeastSquares
from frechet.compat.jaxopt.scipy_least_squares import ScipyLeastSquaresInfo as ScipyLeastSquaresInfo
from frechet.compat.jaxopt.scipy_minimize import ScipyBoundedMinimize as ScipyBoundedMinimize
from frechet.compat.jaxopt.scipy_minimize import ScipyMinimize as ScipyMinimize
from frechet.compat.jaxopt.scipy_minimize import ScipyMinimizeInfo as ScipyMinimizeInfo
from frechet.compat.jaxopt.scipy_root import ScipyRootFinding as ScipyRootFinding
from frechet.compat.jaxopt.scipy_root import ScipyRootInfo as ScipyRootInfo
from frechet.compat.jaxopt.scipy_wrapper import ScipyWrapper as ScipyWrapper
