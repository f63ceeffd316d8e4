"""Two proximable functions, one of them of a linear map: what splitting methods solve."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Bool, PyTree, Scalar

from frechet.convex import parameters
from frechet.convex.function import Function
from frechet.convex.zero import Zero
from frechet.core import lift, tree
from frechet.problems.smooth_part import SmoothPart


class PrimalDual(NamedTuple):
    """A point with its dual; what a `LinearComposite` is solved for.

    Attributes:
        primal: $x$, any pytree of arrays.
        dual: $u$, in the form of $K x$; at a solution a subgradient of $h$ there.
    """

    primal: PyTree[Array]
    dual: PyTree[Array]


class LinearMap(eqx.Module):
    """A matrix or a Lineax operator as a callable.

    Args:
        operator: a dense array of shape (m, n), a `jax.experimental.sparse.BCOO`, or a
            `lineax.AbstractLinearOperator`.
    """

    operator: Any

    def __call__(self, x: PyTree[Array]) -> PyTree[Array]:
        if isinstance(self.operator, lx.AbstractLinearOperator):
            return self.operator.mv(x)
        if not hasattr(x, "shape"):
            raise TypeError(f"K is a matrix, so x must be one array, got a {type(x).__name__}")
        return self.operator @ x


class LinearComposite(SmoothPart):
    r"""Minimise $f(x) + g(x) + h(Kx)$, with $f$ smooth, $g$ and $h$ proximable and $K$ linear.

    Total variation ($K$ takes differences), the generalised lasso, basis pursuit and its kin ($h$ the
    indicator of what $Kx$ may be) are of this form. The unknown is a `PrimalDual` $(x, u)$; a start may be
    $x$ alone, with $u = 0$ added. The optimality map is

    $$\bigl(x - \mathrm{prox}_g(x - \nabla f(x) - K^\top u),\; u - \mathrm{prox}_{h^*}(u + Kx)\bigr).$$

    A plain function (whose captured arrays become differentiable leaves) or a module will do for $f$ and for
    $K$; the transpose of $K$ is made by JAX. As $h$ may be an indicator that is met in the limit only,
    points are ranked by the residual and not by the objective.

    Args:
        f: the smooth part, a callable from a pytree ``x`` to a scalar; None for none.
        g: the function of $x$.
        h: the function of $Kx$.
        K: a matrix of shape (m, n) (dense, a `BCOO` or SciPy sparse), a Lineax operator, or a linear callable
            from ``x`` to a pytree of arrays; None for the identity.

    Raises:
        TypeError: a part of the wrong kind, or (when solved) a callable $K$ that is not linear.

    Source:
        Condat 2013, A primal-dual splitting method for convex optimization involving Lipschitzian, proximable
        and linear composite terms, JOTA 158; Vũ 2013, arXiv 1110.1697.

    Example:
        Total variation denoising:

        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> y = jnp.array([0.0, 1.0, 5.0, 6.0])
        >>> fit = lambda x: 0.5 * jnp.sum((x - y) ** 2)
        >>> problem = fr.LinearComposite(fit, h=fr.convex.L1(1.0), K=jnp.diff)
        >>> fr.solve(problem, y).x.primal.round(2).tolist()
        [1.0, 1.0, 5.0, 5.0]
    """

    always_feasible: ClassVar[bool] = False

    f: Callable[[PyTree[Array]], Scalar] | None = None
    g: Function = eqx.field(default_factory=Zero)
    h: Function = eqx.field(default_factory=Zero)
    K: Callable[[PyTree[Array]], PyTree[Array]] | None = eqx.field(
        default=None, converter=lambda K: _linear(K)
    )

    def __check_init__(self):
        if self.f is not None and not callable(self.f):
            raise TypeError(f"f must be callable or None, got {type(self.f).__name__}")
        if not isinstance(self.h, Function):
            raise TypeError(f"h must be a frechet.convex.Function, got {type(self.h).__name__}")

    # The oracles; but for `residual`, they take the primal point or something in the form of $Kx$.

    def value(self, x: PyTree[Array]) -> Scalar:
        return jnp.zeros((), jnp.result_type(*jax.tree.leaves(x))) if self.f is None else super().value(x)

    def forward(self, x: PyTree[Array]) -> PyTree[Array]:
        """$Kx$."""
        return x if self.K is None else lift.call(self.K, x)

    def adjoint(self, u: PyTree[Array], x: PyTree[Array]) -> PyTree[Array]:
        r"""$K^\top u$, in the form of ``x``."""
        if self.K is None:
            return u
        form = jax.eval_shape(lambda: x)
        return jax.linear_transpose(lambda v: lift.call(self.K, v), form)(u)[0]  # pyright: ignore

    def outer_prox(self, z: PyTree[Array], step: Any) -> PyTree[Array]:
        """Proximal map of ``step * h``."""
        return self.h.prox(z, step)

    def dual_prox(self, u: PyTree[Array], step: Any) -> PyTree[Array]:
        """Proximal map of ``step`` times the conjugate of $h$."""
        return self.h.conjugate_prox(u, step)

    # What it means to be solved.

    def objective(self, x: PrimalDual) -> Scalar:
        return self.value(x.primal) + self.g(x.primal) + self.h(self.forward(x.primal))

    def optimality(self, x: PrimalDual) -> PrimalDual:
        # By Moreau's identity the dual part is prox_h(Kx + u) - Kx.
        minus_dual = jax.tree.map(jnp.negative, x.dual)
        dual = jax.tree.map(jnp.negative, self.h.residual(self.forward(x.primal), minus_dual))
        return PrimalDual(self.g.residual(x.primal, self._slope(x)), dual)

    def near_kink(self, x: PrimalDual, distance: Scalar) -> Bool[Array, ""]:
        outer = self.h.near_kink(tree.axpy(1.0, x.dual, self.forward(x.primal)), distance)
        return outer | self.g.near_kink(tree.subtract(x.primal, self._slope(x)), distance)

    def _slope(self, x: PrimalDual) -> PyTree[Array]:
        """The gradient in the primal point of all but $g$."""
        pull = self.adjoint(x.dual, x.primal)
        return pull if self.f is None else tree.axpy(1.0, pull, self.gradient(x.primal))

    def offers(self) -> dict[str, str]:
        offered = {
            "prox": "the proximal map of g",
            "dual prox": "the proximal maps of h and of its conjugate",
            "linear map": "products with K and its transpose",
        }
        if self.f is not None:
            offered |= {
                "value": "f(x)",
                "gradient": "the gradient of f",
                "hvp": "Hessian-vector products of f",
            }
        if self.K is None:
            offered["identity"] = "K is the identity"
        return offered

    def start(self, x0: PyTree[Array]) -> PrimalDual:
        if isinstance(x0, PrimalDual):
            return x0
        form = jax.eval_shape(self.forward, x0)
        return PrimalDual(x0, jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), form))

    def lifted(self, x: PyTree[Array]) -> "LinearComposite":
        x = x.primal if isinstance(x, PrimalDual) else x
        f = None if self.f is None else lift.lift(self.f, x, what="objective")
        K = None if self.K is None else lift.lift(self.K, x, what="linear map")
        if K is not None:
            _require_linear(K, x)
        return self if f is self.f and K is self.K else lift.replaced(self, f=f, K=K)

    def sound(self) -> Bool[Array, ""]:
        # Bounds and weights may be infinite.
        data = tree.all_finite(self.f) & tree.all_finite(self.K)
        return data & tree.no_nan(self.g) & tree.no_nan(self.h)

    def default_solver(self) -> str:
        return "frechet.solvers.splitting.admm:ADMM"


def _linear(K: Any) -> Any:
    if isinstance(K, lx.AbstractLinearOperator):
        return LinearMap(K)
    if hasattr(K, "tocoo"):  # SciPy's
        from jax.experimental.sparse import BCOO

        K = BCOO.from_scipy_sparse(K)
    if K is None or callable(K):
        return K
    if not hasattr(K, "shape"):
        raise TypeError(
            f"K must be a matrix, an operator, a linear callable or None, got a {type(K).__name__}"
        )
    K = K if hasattr(K, "todense") else jnp.asarray(K)
    if len(K.shape) != 2:
        raise ValueError(
            f"K must be a matrix of shape (m, n), got shape {K.shape}; or pass a linear callable"
        )
    return LinearMap(K)


_linear_at: dict[Any, None] = {}


def _require_linear(K: Callable, x: PyTree[Array]) -> None:
    """Raises where a callable is not linear; each program is looked at once."""
    leaves, structure = jax.tree.flatten((K, x))
    known = (structure, tuple((jnp.shape(v), jnp.result_type(v)) for v in leaves))
    if isinstance(K, LinearMap) or known in _linear_at:
        return
    form = jax.eval_shape(lambda: x)
    try:
        out = jax.eval_shape(lambda x: lift.call(K, x), form)
        jax.eval_shape(lambda u: jax.linear_transpose(lambda v: lift.call(K, v), form)(u), out)
    except (AssertionError, NotImplementedError, TypeError, ValueError) as error:
        line = (str(error).strip().splitlines() or ["no message"])[0]
        raise TypeError(f"K must be linear in x and take it as it is: {line}") from None
    if parameters.known(*leaves):
        at_zero = lift.call(K, jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), form))
        size = tree.largest(at_zero)
        if parameters.known(size) and float(size) > 0:
            raise TypeError(
                "K must be linear in x, but K(0) is not 0; put the constant into h, by fr.convex.Translated"
            )
    if len(_linear_at) >= 4096:
        _linear_at.clear()
    _linear_at[known] = None
