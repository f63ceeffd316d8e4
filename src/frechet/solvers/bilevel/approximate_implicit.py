"""AID: hypergradients from lower and adjoint problems solved only as well as the progress asks."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.core.status import Ending
from frechet.problems.bilevel import Bilevel, BilevelPoint
from frechet.solvers.bilevel.outer_update import AdaptiveDescent, Transformed, outer_update
from frechet.solvers.second_order.truncated_cg import truncated_cg


class ApproximateImplicitState(State):
    """``tolerance`` is that of the next step's lower and adjoint problems, ``adjoint`` their warm start.

    ``inner`` and ``outer`` are the updates' memories; ``endless`` says that the lower objective fell so far
    that it has no minimum.
    """

    adjoint: PyTree[Array]
    tolerance: Scalar
    inner: PyTree[Array]
    outer: PyTree[Array]
    endless: Bool[Array, ""]


class ApproximateImplicit(Solver):
    r"""Approximate implicit differentiation (AID), the reference method for a smooth lower level.

    A step goes on from the last lower solution and the last adjoint vector,

    $$\|\nabla_y g(x, y)\| \le \varepsilon_k, \qquad
      \|\nabla^2_{yy} g(x, y)\, v - \nabla_y f(x, y)\| \le \varepsilon_k,$$

    the first by gradient steps, the second by conjugate gradients, and moves $x$ along
    $h = \nabla_x f - \nabla^2_{xy} g\, v$. The tolerance $\varepsilon_{k+1}$ is a tenth of the size of $h$
    (of the move over the step, where $x$ has a function or set of its own), and at most
    $0.9\,\varepsilon_k$: were it held, its bias would be mistaken for convergence. The outer
    iteration is that of gradient descent on $\Phi$, linear where $\Phi$ is strongly convex.

    A step costs one upper gradient and two proxes, as many lower gradients and products with second
    derivatives as the tolerances ask for, and two products more. A lower level along which gradient steps
    run off to infinity ends the solve as unbounded.

    Args:
        inner: an Optax transformation for the lower level; steps that adapt to its curvature when left out.
        outer: likewise for the upper level; needs a set or nothing for the function of $x$.
        inner_limit: most lower gradients, and most products of conjugate gradients, in one step.

    Source:
        Pedregosa 2016, Hyperparameter optimization with approximate gradient, arXiv 1602.02355; Ji, Yang,
        Liang 2021, Bilevel optimization: convergence analysis and enhanced design, arXiv 2010.07962.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> problem = fr.Bilevel(lambda x, y: (y - 1.0) ** 2 + x**2, lambda x, y: (y - 2.0 * x) ** 2)
        >>> solution = fr.solve(problem, (0.0, 0.0), ApproximateImplicit())
        >>> round(float(solution.x.upper), 3), round(float(solution.x.lower), 3)
        (0.4, 0.8)
    """

    accepts: ClassVar[type] = Bilevel
    needs: ClassVar[frozenset[str]] = frozenset(
        {
            "outer gradient",
            "inner gradient",
            "inner hvp",
            "no constraints",
            "smooth lower level",
            "unique lower solution",
        }
    )
    inner: AdaptiveDescent | Transformed = eqx.field(default=None, converter=outer_update)
    outer: AdaptiveDescent | Transformed = eqx.field(default=None, converter=outer_update)
    inner_limit: int = eqx.field(default=1000, static=True)

    def init(self, problem: Bilevel, x0: BilevelPoint, *, key: PRNGKeyArray) -> ApproximateImplicitState:
        x, y = x0.upper, x0.lower
        slopes = problem.outer_gradients(x, y)
        return ApproximateImplicitState(
            x0,
            Calls().add(outer_gradient=1),
            jax.tree.map(jnp.zeros_like, y),
            0.1 * tree.norm(slopes),
            self.inner.init(y),
            self.outer.init(x),
            jnp.asarray(False),
        )

    def step(
        self, problem: Bilevel, state: ApproximateImplicitState, *, key: PRNGKeyArray
    ) -> ApproximateImplicitState:
        x, tolerance = state.x.upper, state.tolerance
        y, inner, endless, gradients = self._lower(problem, state)
        slope, b = problem.outer_gradients(x, y)

        zero = jax.tree.map(jnp.zeros_like, y)
        product = jax.linearize(lambda v: problem.inner_hvp(x, y, v), zero)[1]
        wrong = tree.subtract(product(state.adjoint), b)
        size, eps = tree.norm(wrong), jnp.finfo(tolerance.dtype).eps
        eta = jnp.maximum(tolerance, eps * tree.norm(b)) / jnp.where(size > 0, size, 1)
        d, products = truncated_cg(product, wrong, eta, self.inner_limit)
        v = tree.axpy(1.0, d, state.adjoint)

        h = tree.subtract(slope, problem.inner_products(x, y, v)[0])
        calls = state.calls.add(outer_gradient=1, gradient=gradients, hvp=products + 2, prox=1)
        residual = tree.norm(tree.subtract(x, problem.outer_prox(tree.axpy(-1.0, h, x), 1.0)))
        ahead, outer, calls = self.outer.apply(problem, x, h, state.outer, calls)
        # A lower level without a solution says nothing about x.
        ahead = tree.where(endless, x, ahead)
        tolerance = jnp.minimum(0.1 * residual, 0.9 * tolerance).astype(tolerance.dtype)
        return ApproximateImplicitState(BilevelPoint(ahead, y), calls, v, tolerance, inner, outer, endless)

    def _lower(self, problem: Bilevel, state: ApproximateImplicitState) -> tuple:
        """The lower variable and the update's memory, whether it has no end, and gradients taken."""
        x, start = state.x.upper, state.x.lower
        eps = jnp.finfo(state.tolerance.dtype).eps
        far = (1 + tree.norm(start)) / eps

        def descend(carry: tuple) -> tuple:
            y, memory, n, _ = carry
            slope = problem.inner_gradient(x, y)
            ahead, new = self.inner.move(y, slope, memory)
            done = tree.norm(slope) <= state.tolerance
            y, memory, moved = *tree.where(done, (y, memory), (ahead, new)), tree.subtract(ahead, y)
            size = tree.norm(y)
            # Neither at rounding, nor farther than any solution that rounding could tell from another.
            going = (tree.norm(moved) > eps * size) & (size <= far)
            return y, memory, n + 1, ~done & going

        memory = self.inner.resumed(start, state.inner)
        begun = (start, memory, jnp.zeros((), int), ~state.endless)
        going = lambda carry: carry[3] & (carry[2] < self.inner_limit)  # noqa: E731
        y, memory, n, _ = jax.lax.while_loop(going, descend, begun)
        size = tree.norm(y)
        return y, memory, state.endless | (jnp.isfinite(size) & (size > far)), n

    def diagnosis(self, problem: Bilevel, state: ApproximateImplicitState) -> Int[Array, ""]:
        ending = jnp.where(state.endless, Ending.UNBOUNDED, Ending.RUNNING)
        return ending.astype(jnp.int32)
