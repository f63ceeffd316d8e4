"""The alternating direction method of multipliers."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree, Scalar

from frechet.convex.parameters import parameter
from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.linear_composite import LinearComposite, PrimalDual
from frechet.solvers.rounding import rounding
from frechet.solvers.second_order.hessian import hessian
from frechet.solvers.second_order.truncated_cg import truncated_cg
from frechet.solvers.splitting import smooth_part
from frechet.solvers.splitting.balancing import Balance, relative
from frechet.solvers.trial_loop import trial_loop

# The inner problem is solved to this fraction of the slope it starts with, in so many Newton steps at most.
FRACTION, NEWTON_STEPS = 0.03, 8


class ADMMState(State):
    r"""``point`` is the inner problem's solution, ``image`` is $K$ of it, ``value`` is $f$ there.

    ``copy`` is $w$ and ``multiplier`` is $v$, the dual of $x = w$ (zero where $g = 0$, as $w = x$); ``outer``
    is $z$; ``balance`` holds $\rho$.
    """

    point: PyTree[Array]
    image: PyTree[Array]
    value: Scalar
    copy: PyTree[Array]
    multiplier: PyTree[Array]
    outer: PyTree[Array]
    balance: Balance


class ADMM(Solver):
    r"""Alternating direction method of multipliers for $f + g + h\circ K$.

    The problem is split as $f(x) + g(w) + h(z)$ with $x = w$, $Kx = z$ and multipliers $v$ and $u$. A step is

    $$x \leftarrow \arg\min_x f(x) + \tfrac\rho2\|x - w + v/\rho\|^2 + \tfrac\rho2\|Kx - z + u/\rho\|^2,$$
    $$w \leftarrow \mathrm{prox}_{g/\rho}(x + v/\rho), \quad z \leftarrow \mathrm{prox}_{h/\rho}(Kx + u/\rho),
      \quad v \leftarrow v + \rho(x - w), \quad u \leftarrow u + \rho(Kx - z)$$

    with over-relaxation. The first line is solved inexactly, from where the last step left it, by Newton's
    method with conjugate gradients: one linear system where $f$ is quadratic or absent. The penalty $\rho$ is
    moved until primal and dual residuals fall alike. Ill-conditioned $f$ and $K$, which slow the first-order
    methods down, are met by the inner solver. A step costs two proximal maps and, for each Newton step, a
    gradient, the values that its line search takes, and a Hessian-vector product and two products with $K$
    an inner iteration.

    Reverse mode through unrolled steps is not offered (a JAX loop of unknown length); derivatives of the
    solution are implicit and have no such limit.

    Args:
        relaxation: $\alpha \in (0, 2)$: $\alpha x + (1-\alpha)w$ takes the place of $x$, likewise for $Kx$.

    Source:
        Boyd, Parikh, Chu, Peleato, Eckstein 2011, Distributed optimization and statistical learning via the
        alternating direction method of multipliers; Eckstein, Yao 2018, Relative-error approximate versions
        of Douglas-Rachford splitting and special cases of the ADMM.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> y = jnp.array([0.0, 1.0, 5.0, 6.0])
        >>> fit = lambda x: 0.5 * jnp.sum((x - y) ** 2)
        >>> problem = fr.LinearComposite(fit, h=fr.convex.L1(1.0), K=jnp.diff)
        >>> fr.solve(problem, y, ADMM()).x.primal.round(2).tolist()
        [1.0, 1.0, 5.0, 5.0]
    """

    accepts: ClassVar[type] = LinearComposite

    relaxation: Any = eqx.field(default=1.6, converter=lambda a: parameter("relaxation", a, positive=True))

    def init(self, problem: LinearComposite, x0: PrimalDual, *, key: PRNGKeyArray) -> ADMMState:
        x, _ = x0
        calls = Calls().add(matvec=1, value=smooth_part.present(problem))
        image, zeros = problem.forward(x), jax.tree.map(jnp.zeros_like, x)
        balance = Balance.start(jnp.result_type(*jax.tree.leaves(x)))
        return ADMMState(x0, calls, x, image, smooth_part.value(problem, x), x, zeros, image, balance)

    def step(self, problem: LinearComposite, state: ADMMState, *, key: PRNGKeyArray) -> ADMMState:
        rho, split = state.balance.ratio, _split(problem)
        alpha = jnp.asarray(self.relaxation, rho.dtype)
        x, image, value, calls = _inner(problem, state)

        def alternate(prox: Any, ahead: PyTree, copy: PyTree, multiplier: PyTree) -> tuple[PyTree, PyTree]:
            relaxed = tree.axpy(alpha, tree.subtract(ahead, copy), copy)
            new = prox(tree.axpy(1 / rho, multiplier, relaxed), 1 / rho)
            return new, tree.axpy(rho, tree.subtract(relaxed, new), multiplier)

        z, u = alternate(problem.outer_prox, image, state.outer, state.x.dual)
        w, v = alternate(problem.prox, x, state.copy, state.multiplier) if split else (x, state.multiplier)
        primal, copies, earlier = ((x, image), (w, z), (state.copy, state.outer))
        apart = relative(tree.subtract(primal, copies), primal, copies)
        balance = state.balance.after(apart, rho * relative(tree.subtract(copies, earlier), (v, u)))
        calls = calls.add(prox=1 + split)
        return ADMMState(PrimalDual(w, u), calls, x, image, value, w, v, z, balance)


def _split(problem: LinearComposite) -> int:
    """1 where $x = w$ is one of the constraints, else 0."""
    return int(not problem.g.smooth)


def _inner(problem: LinearComposite, state: ADMMState) -> tuple[PyTree, PyTree, Scalar, Calls]:
    """The minimiser in x of the augmented Lagrangian, with its image and value, and the calls so far."""
    smooth, rho = smooth_part.present(problem), state.balance.ratio
    pull = _split(problem) * rho

    def slopes(x: PyTree, image: PyTree) -> tuple[PyTree, PyTree, PyTree]:
        """Of the quadratic terms in x and in Kx, and in all."""
        direct = tree.axpy(pull, tree.subtract(x, state.copy), state.multiplier)
        through = tree.axpy(rho, tree.subtract(image, state.outer), state.x.dual)
        total = tree.axpy(1.0, problem.adjoint(through, x), direct)
        return direct, through, tree.axpy(1.0, smooth_part.gradient(problem, x), total)

    def newton(x: PyTree, gradient: PyTree) -> tuple:
        curvature = hessian(problem, x) if smooth else None  # pyright: ignore

        def product(v: PyTree) -> PyTree:
            back = problem.adjoint(problem.forward(v), v)
            total = jax.tree.map(lambda a, b: rho * a + pull * b, back, v)
            return tree.axpy(1.0, curvature(v), total) if curvature else total

        size = sum(a.size for a in jax.tree.leaves(x))
        return truncated_cg(product, gradient, jnp.asarray(FRACTION, rho.dtype), max(2 * size, 20))

    def go_on(carry: tuple) -> Bool[Array, ""]:
        _, _, _, (*_, gradient), _, k = carry
        unsolved = tree.norm(gradient) > 2 * FRACTION * tree.norm(first[2])
        return (k == 0) | (unsolved & (k < NEWTON_STEPS))

    def body(carry: tuple) -> tuple:
        x, image, value, (direct, through, gradient), calls, k = carry
        d, products = newton(x, gradient)
        model = (d, value, direct, through, pull, rho, tree.vdot(gradient, d))
        _, (x, image, value, _), n = trial_loop(
            _trial, _armijo, jnp.ones_like(rho), problem, x, image, *model
        )
        cost = {"hvp": smooth * products, "value": smooth * n, "gradient": smooth}
        calls = calls.add(matvec=2 * products + n + 1, **cost)
        return x, image, value, slopes(x, image), calls, k + 1

    first = slopes(state.point, state.image)
    calls = state.calls.add(gradient=smooth, matvec=1)
    start = (state.point, state.image, state.value, first, calls, jnp.zeros((), int))
    x, image, value, _, calls, _ = jax.lax.while_loop(go_on, body, start)
    return x, image, value, calls


def _trial(
    length: Scalar,
    problem: LinearComposite,
    x: PyTree,
    image: PyTree,
    d: PyTree,
    value: Scalar,
    direct: PyTree,
    through: PyTree,
    pull: Scalar,
    rho: Scalar,
    _: Scalar,
) -> tuple:
    """The point ahead; last, the rise of the augmented Lagrangian and how far rounding puts it off."""
    ahead = tree.axpy(length, d, x)
    image_ahead, value_ahead = problem.forward(ahead), smooth_part.value(problem, ahead)
    dx, dz = tree.subtract(ahead, x), tree.subtract(image_ahead, image)
    linear = tree.vdot(direct, dx) + tree.vdot(through, dz)
    rise = value_ahead - value + linear + 0.5 * (pull * tree.vdot(dx, dx) + rho * tree.vdot(dz, dz))
    size = tree.norm(image) * tree.norm(through) + tree.norm(x) * tree.norm(direct)
    return ahead, image_ahead, value_ahead, (rise, rounding(value, value_ahead) + rounding(size, size))


def _armijo(length: Scalar, trial: tuple, *arguments: Any) -> Bool[Array, ""]:
    (rise, allowance), slope = trial[3], arguments[-1]
    return (rise <= 1e-4 * length * slope + allowance) & jnp.isfinite(rise)
