"""AID: hypergradients from lower and adjoint problems solved only as well as the progress asks."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.core.status import Ending
from frechet.problems.bilevel import Bilevel, BilevelPoint
from frechet.problems.composite import Composite
from frechet.solvers.bilevel.outer_update import AdaptiveDescent, Transformed, outer_update
from frechet.solvers.second_order.newton_cg import NewtonCG
from frechet.solvers.second_order.truncated_cg import truncated_cg


class LowerLevel(Composite):
    """The lower problem at an ``x``, by the bilevel problem's own oracles."""

    problem: Bilevel = eqx.field(kw_only=True)
    x: PyTree[Array] = eqx.field(kw_only=True)

    def __init__(self, problem: Bilevel, x: PyTree[Array]):
        self.f, self.g = eqx.Partial(problem.inner_value, x), problem.inner_g
        self.problem, self.x = problem, x

    def value(self, x: PyTree[Array]) -> Scalar:
        return self.problem.inner_value(self.x, x)

    def gradient(self, x: PyTree[Array]) -> PyTree[Array]:
        return self.problem.inner_gradient(self.x, x)

    def value_and_gradient(self, x: PyTree[Array]) -> tuple[Scalar, PyTree[Array]]:
        return self.value(x), self.gradient(x)

    def hvp(self, x: PyTree[Array], v: PyTree[Array]) -> PyTree[Array]:
        return self.problem.inner_hvp(self.x, x, v)

    def prox(self, x: PyTree[Array], step: Any) -> PyTree[Array]:
        return self.problem.inner_prox(x, step)


class ApproximateImplicitState(State):
    """``tolerance`` is that of the next step's lower and adjoint problems, ``adjoint`` their warm start.

    ``outer`` is the update's memory; ``endless`` says that the lower variable ran off to infinity.
    """

    adjoint: PyTree[Array]
    tolerance: Scalar
    outer: PyTree[Array]
    endless: Bool[Array, ""]


class ApproximateImplicit(Solver):
    r"""Approximate implicit differentiation (AID), the reference method for a smooth lower level.

    A step goes on from the last lower solution and the last adjoint vector,

    $$\|\nabla_y g(x, y)\| \le \varepsilon_k, \qquad
      \|\nabla^2_{yy} g(x, y)\, v - \nabla_y f(x, y)\| \le \varepsilon_k,$$

    the first by steps of a solver for smooth problems, the second by conjugate gradients, and moves $x$ along
    $h = \nabla_x f - \nabla^2_{xy} g\, v$. The tolerance $\varepsilon_{k+1}$ is a tenth of the size of $h$
    (of the residual, where $x$ has a function or set of its own), and falls by a tenth at least with every
    step, down to rounding: were it in proportion to $h$, its bias could be mistaken for progress. The outer
    iteration is that of gradient descent on $\Phi$, linear where $\Phi$ is strongly convex.

    A step costs one upper gradient and two proxes, what the lower solver takes and a lower gradient for each
    of its steps and one more, as many products with second derivatives as the adjoint problem asks for and
    three more. A lower level along which $y$ runs off to infinity ends the solve as unbounded.

    Args:
        inner: a solver of smooth problems, started anew at the last $y$: `NewtonCG`, or gradient steps by
            `FISTA`, `ProximalGradient` or `Optax`.
        outer: an Optax transformation, which needs a set or nothing for the function of $x$; steps that adapt
            to how $h$ changes when left out.
        inner_limit: most steps of ``inner``, and most products of conjugate gradients, in one step.

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
    inner: Solver = eqx.field(default_factory=NewtonCG)
    outer: AdaptiveDescent | Transformed = eqx.field(default=None, converter=outer_update)
    inner_limit: int = eqx.field(default=1000, static=True)

    def __check_init__(self):
        if not isinstance(self.inner, Solver):
            raise TypeError(f"inner must be a frechet Solver, got {type(self.inner).__name__}")
        reason = self.inner.fits(Composite(jnp.sum))
        if reason or self.inner.stochastic:
            raise ValueError(f"inner must take smooth problems whole: it {reason or 'draws batches'}")

    def init(self, problem: Bilevel, x0: BilevelPoint, *, key: PRNGKeyArray) -> ApproximateImplicitState:
        x, y = x0.upper, x0.lower
        slopes = problem.outer_gradients(x, y)
        return ApproximateImplicitState(
            x0,
            Calls().add(outer_gradient=1),
            jax.tree.map(jnp.zeros_like, y),
            0.1 * tree.norm(slopes),
            self.outer.init(x),
            jnp.asarray(False),
        )

    def step(
        self, problem: Bilevel, state: ApproximateImplicitState, *, key: PRNGKeyArray
    ) -> ApproximateImplicitState:
        x, tolerance = state.x.upper, state.tolerance
        y, endless, calls = self._lower(problem, state, key)
        slope, b = problem.outer_gradients(x, y)

        zero = jax.tree.map(jnp.zeros_like, y)
        product = jax.linearize(lambda v: problem.inner_hvp(x, y, v), zero)[1]
        wrong = tree.subtract(product(state.adjoint), b)
        size, eps = tree.norm(wrong), jnp.finfo(tolerance.dtype).eps
        eta = jnp.maximum(tolerance, eps * tree.norm(b)) / jnp.where(size > 0, size, 1)
        d, products = truncated_cg(product, wrong, eta, self.inner_limit)
        v = tree.axpy(1.0, d, state.adjoint)

        h = tree.subtract(slope, problem.inner_products(x, y, v)[0])
        calls = calls.add(outer_gradient=1, hvp=products + 2, prox=1)
        residual = tree.norm(tree.subtract(x, problem.outer_prox(tree.axpy(-1.0, h, x), 1.0)))
        ahead, outer, calls = self.outer.apply(problem, x, h, state.outer, calls)
        # A lower level without a solution says nothing about x.
        ahead = tree.where(endless, x, ahead)
        tolerance = jnp.minimum(0.9 * tolerance, 0.1 * residual).astype(tolerance.dtype)
        return ApproximateImplicitState(BilevelPoint(ahead, y), calls, v, tolerance, outer, endless)

    def _lower(self, problem: Bilevel, state: ApproximateImplicitState, key: PRNGKeyArray) -> tuple:
        """The lower variable, whether the lower level has no end, and the calls."""
        x, start = state.x.upper, state.x.lower
        lower = LowerLevel(problem, x)
        eps = jnp.finfo(state.tolerance.dtype).eps
        far = (1 + tree.norm(start)) / eps
        # No gradient is smaller than what rounding y makes of it.
        tolerance = jnp.maximum(state.tolerance, 16 * eps * tree.norm(lower.hvp(start, start)))

        def improve(carry: tuple) -> tuple:
            inner, _, n, _ = carry
            new = self.inner.step(lower, inner, key=key)
            moved, size = tree.norm(tree.subtract(new.x, inner.x)), tree.norm(new.x)
            # Neither at rounding, nor farther than any solution that rounding could tell from another.
            going = (moved > eps * size) & (size <= far)
            return new, tree.norm(lower.gradient(new.x)), n + 1, going

        def going(carry: tuple) -> Bool[Array, ""]:
            _, slope, n, going = carry
            return going & (slope > tolerance) & (n < self.inner_limit)

        inner = self.inner.init(lower, start, key=key)
        begun = (inner, tree.norm(lower.gradient(start)), jnp.zeros((), int), ~state.endless)
        inner, _, n, _ = jax.lax.while_loop(going, improve, begun)
        size = tree.norm(inner.x)
        endless = state.endless | (jnp.isfinite(size) & (size > far))
        return inner.x, endless, Calls(state.calls.counts + inner.calls.counts).add(gradient=n + 1, hvp=1)

    def diagnosis(self, problem: Bilevel, state: ApproximateImplicitState) -> Int[Array, ""]:
        ending = jnp.where(state.endless, Ending.UNBOUNDED, Ending.RUNNING)
        return ending.astype(jnp.int32)
