"""Hypergradients by the implicit function theorem, with an approximate inverse."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.bilevel import Bilevel, BilevelPoint
from frechet.solvers.bilevel import largest_curvature
from frechet.solvers.bilevel.batches import charge, inner_batch, outer_batch
from frechet.solvers.bilevel.inverse import Inverse, Neumann
from frechet.solvers.bilevel.largest_curvature import LargestCurvature
from frechet.solvers.bilevel.lower_step import step_or_none
from frechet.solvers.bilevel.outer_update import AdaptiveDescent, Transformed, outer_update
from frechet.solvers.stochastic.sampling import check_batch_size


class ImplicitHypergradientState(State):
    """``inner`` and ``outer`` are the updates' memories; ``curvature`` sets the lower step."""

    inner: PyTree[Array]
    outer: PyTree[Array]
    curvature: LargestCurvature | None


def _transformed(tx: Any) -> Transformed | None:
    return tx if tx is None or isinstance(tx, Transformed) else Transformed(tx)


class ImplicitHypergradient(Solver):
    r"""A few steps of training, then one step along an approximate hypergradient; repeated.

    From where the lower level was left, $N$ steps of ``inner`` on $g(x, \cdot)$; then

    $$h = \nabla_x f - \nabla^2_{xy} g\, p, \qquad p \approx (\nabla^2_{yy} g)^{-1}\nabla_y f,$$

    with ``inverse`` in place of the inverse, and one step of ``outer`` along $h$. Memory is that of a few
    vectors like $x$ and $y$, whatever $N$. $h$ is biased by the error of the inverse and by how far $y$ is
    from the lower solution. A step costs one upper gradient, $N$ lower gradients, the products of the inverse
    and one more, with another one for the step size where none is given; and one prox.

    With batches every lower gradient has its own, and all products of a step share one.

    Args:
        inner: an Optax transformation; gradient steps of size ``lower_step`` when left out.
        inner_steps: $N$; 0 leaves training to somebody else.
        inverse: `Neumann`, `ConjugateGradient`, `Exact` or `Identity`, of `frechet.solvers.bilevel.inverse`.
        outer: an Optax transformation; steps that adapt to how $h$ changes when left out, which batches
            do not allow.
        lower_step: of gradient steps at the lower level and of the Neumann series; one over the largest
            curvature of $g(x, \cdot)$, as a power iteration finds it on the way, when left out.
        batch_size: terms of $g$ a batch; all when left out.
        outer_batch_size: terms of $f$ a batch; all when left out.

    Source:
        Lorraine, Vicol, Duvenaud 2020, Optimizing millions of hyperparameters by implicit differentiation,
        arXiv 1911.02590.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> import frechet as fr
        >>> problem = fr.Bilevel(lambda x, y: (y - 1.0) ** 2, lambda x, y: (y - x) ** 2 + y**2)
        >>> solver = ImplicitHypergradient(optax.sgd(0.3), outer=optax.adam(0.1))
        >>> solution = fr.solve(problem, (0.0, 0.0), solver, tol=1e-3)
        >>> round(float(solution.x.upper), 2), round(float(solution.x.lower), 2)
        (2.0, 1.0)
    """

    accepts: ClassVar[type] = Bilevel
    converges: ClassVar[bool] = False
    inner: Transformed | None = eqx.field(default=None, converter=_transformed)
    inner_steps: int = eqx.field(default=10, static=True)
    inverse: Inverse = eqx.field(default_factory=Neumann)
    outer: AdaptiveDescent | Transformed = eqx.field(default=None, converter=outer_update)
    lower_step: Any = eqx.field(default=None, converter=step_or_none)
    batch_size: int | None = eqx.field(default=None, static=True)
    outer_batch_size: int | None = eqx.field(default=None, static=True)

    def __check_init__(self):
        if not isinstance(self.inner_steps, int) or self.inner_steps < 0:
            raise ValueError(f"inner_steps must be an integer of at least 0, got {self.inner_steps!r}")
        if not isinstance(self.inverse, Inverse):
            raise TypeError(f"inverse must be a Neumann() or the like, got {type(self.inverse).__name__}")
        for size in (self.batch_size, self.outer_batch_size):
            if size is not None:
                check_batch_size(size)
        if self.stochastic and isinstance(self.outer, AdaptiveDescent):
            raise ValueError("batches need an outer update that stands noise, such as outer=optax.adam(1e-2)")

    @property
    def stochastic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether batches are drawn at either level."""
        return self.batch_size is not None or self.outer_batch_size is not None

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Products with second derivatives of a smooth lower level, and terms where batches are drawn."""
        needs = {"outer gradient", "inner gradient", "inner hvp", "no constraints", "smooth lower level"}
        sampled = {"inner sample": self.batch_size, "outer sample": self.outer_batch_size}
        return frozenset(needs | {name for name, size in sampled.items() if size is not None})

    @property
    def _follows(self) -> bool:
        """Whether a step size has to be found."""
        return self.lower_step is None and (self.inner is None or self.inverse.needs_step)

    def init(self, problem: Bilevel, x0: BilevelPoint, *, key: PRNGKeyArray) -> ImplicitHypergradientState:
        calls, curvature = Calls(), None
        if self._follows:
            curvature, calls = largest_curvature.first(problem, x0.upper, x0.lower, calls)
        inner = None if self.inner is None else self.inner.init(x0.lower)
        return ImplicitHypergradientState(x0, calls, inner, self.outer.init(x0.upper), curvature)

    def step(
        self, problem: Bilevel, state: ImplicitHypergradientState, *, key: PRNGKeyArray
    ) -> ImplicitHypergradientState:
        x, curvature = state.x.upper, state.curvature
        inner_key, product_key, outer_key = jax.random.split(key, 3)
        step = self.lower_step if curvature is None else curvature.step

        def train(carry: tuple, key: PRNGKeyArray) -> tuple:
            y, memory = carry
            slope = problem.inner_gradient(x, y, inner_batch(key, problem, self.batch_size))
            return self._moved(y, slope, memory, step), None

        keys = jax.random.split(inner_key, self.inner_steps)
        (y, inner), _ = jax.lax.scan(train, (state.x.lower, state.inner), keys)

        slope, b = problem.outer_gradients(x, y, outer_batch(outer_key, problem, self.outer_batch_size))
        indices = inner_batch(product_key, problem, self.batch_size)
        zero = jax.tree.map(jnp.zeros_like, y)
        product = jax.linearize(lambda v: problem.inner_hvp(x, y, v, indices), zero)[1]
        if curvature is not None:
            curvature = largest_curvature.followed(product, curvature)
            step = curvature.step
        p, products = self.inverse.apply(product, b, step)
        h = tree.subtract(slope, problem.inner_products(x, y, p, indices)[0])

        calls = charge(state.calls, self.outer_batch_size, outer=1)
        second = products + 1 + (curvature is not None)
        calls = charge(calls, self.batch_size, inner=self.inner_steps, second=second)
        ahead, outer, calls = self.outer.apply(problem, x, h, state.outer, calls)
        return ImplicitHypergradientState(BilevelPoint(ahead, y), calls, inner, outer, curvature)

    def _moved(self, y: PyTree[Array], slope: PyTree[Array], memory: Any, step: Scalar | None) -> tuple:
        if self.inner is None:
            return tree.axpy(-step, slope, y), memory  # pyright: ignore[reportOptionalOperand]
        return self.inner.move(y, slope, memory)
