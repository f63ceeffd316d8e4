"""Two levels whose lower solutions, and of two problems all others too, are closed forms."""

import jax
import jax.numpy as jnp
import numpy as np

from frechet.convex import AffineSet
from frechet.problems import Bilevel, FiniteSumBilevel
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem

_LV_HBA = "Yao, Yu, Zeng, Zhang 2024, Constrained bi-level optimization, arXiv 2401.16164"


@problem(
    "bilevel-quadratic",
    title="Bilevel: quadratics at both levels, 20 and 20 unknowns, 256 terms each",
    source="Dagreou, Ablin, Vaiter, Moreau 2022, A framework for bilevel optimization, arXiv 2201.13409",
)
def bilevel_quadratic() -> Case:
    """Terms of rank one, of mean spectrum 0.1 to 1, one direction of the upper variable without any."""
    levels = data.bilevel_quadratics()
    outer, inner = jax.tree.map(jnp.asarray, (levels.outer, levels.inner))
    made = FiniteSumBilevel(data.quadratic_term, data.quadratic_term, outer, inner)
    start = made.start((jnp.full(20, -2.0), jnp.zeros(20)))
    return Case(made, start, optimum=levels.hyperobjective(levels.solution()))


@problem(
    "bilevel-equation",
    title="Bilevel: the lower level tied to the upper one by an equation, 100 and 200 unknowns",
    source=_LV_HBA,
)
def bilevel_equation() -> Case:
    """All unknowns of both levels sum to zero, in a scale that gives the sum a gradient of length one."""
    n = 100
    scale = (3 * n) ** -0.5

    def outer(x, y):
        first, second = y
        return 0.5 * jnp.sum((x - second) ** 2) + 0.5 * jnp.sum((first - 1) ** 2)

    def inner(x, y):
        first, second = y
        return 0.5 * jnp.sum(first**2) - x @ first + jnp.sum(second)

    def equation(x, y):
        return scale * (jnp.sum(x) + jnp.sum(y[0]) + jnp.sum(y[1]))

    joint = AffineSet(jnp.full((1, 3 * n), scale), jnp.zeros(1))
    made = Bilevel(outer, inner, eq=equation, joint=joint, unique=False)
    zeros = jnp.zeros(n)
    # optimum: x = -0.3, y = (0.7, -0.4)
    return Case(made, made.start((jnp.ones(n), (zeros, zeros))), optimum=5.0)


@problem(
    "bilevel-projection",
    title="Bilevel: a wave over projections onto a moving affine set, 100 and 100 unknowns",
    source=_LV_HBA,
)
def bilevel_projection() -> Case:
    r"""$y^\star(x)$ is the point of $\{y : A y + H x = 0\}$ nearest $x$; $x$ lies in a subspace.

    Minima of the sine are many, and which of them a run ends in depends on the solver.
    """
    n, equations, held = 100, 90, 45
    rng = np.random.default_rng(0)
    A, H = rng.uniform(size=(equations, n)), rng.uniform(size=(equations, n))
    A, H = A / np.linalg.norm(A, 2), H / np.linalg.norm(A, 2)
    B = np.linalg.qr(rng.uniform(size=(n, held)))[0].T
    c, d = jnp.asarray(rng.uniform(size=n)), jnp.asarray(rng.uniform(size=n))
    x0 = np.full(n, 10.0)
    x0 = x0 - B.T @ (B @ x0)
    joint = AffineSet(np.block([[H, A], [B, np.zeros((held, n))]]), np.zeros(equations + held))
    A, H = jnp.asarray(A), jnp.asarray(H)
    made = Bilevel(
        lambda x, y: jnp.sin(c @ x + d @ y) + jnp.log(jnp.sum((x + y) ** 2) + 1),
        lambda x, y: 0.5 * jnp.sum((x - y) ** 2),
        AffineSet(B, np.zeros(held)),
        eq=lambda x, y: A @ y + H @ x,
        joint=joint,
    )
    return Case(made, made.start((jnp.asarray(x0), jnp.full(n, 10.0))))
