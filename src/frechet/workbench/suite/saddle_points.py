"""Saddle points: games of matrices, of quadratics, and models fitted against an adversary."""

import jax
import jax.numpy as jnp
import numpy as np

from frechet.convex import L2Ball, Simplex, SquaredL2
from frechet.problems import FiniteSumInclusion, FiniteSumSaddle, Saddle
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem


@problem(
    "bilinear-game",
    title="Saddle point: x'Ay + b'x + c'y with a Gaussian matrix, 30 unknowns a player",
    source="drawn; what gradient descent-ascent diverges on",
)
def bilinear_game() -> Case:
    """Nothing is curved: the operator is a rotation, with frequencies from 0.1 to 1."""
    rng = np.random.default_rng(0)
    U, _, V = np.linalg.svd(rng.normal(size=(30, 30)))
    A, b, c = (jnp.asarray(v) for v in (U @ np.diag(np.geomspace(0.1, 1, 30)) @ V, *rng.normal(size=(2, 30))))
    saddle = Saddle(lambda x, y: x @ A @ y + b @ x + c @ y)
    return Case(saddle, saddle.start((jnp.zeros(30), jnp.zeros(30))))


@problem(
    "strongly-monotone-game",
    title="Saddle point: convex-concave quadratics of condition number 1,000, 50 unknowns a player",
    source="drawn",
)
def strongly_monotone_game() -> Case:
    """Curvatures from 1e-3 to 1 for either player, and a coupling of norm one."""
    rng = np.random.default_rng(0)

    def curved() -> jax.Array:
        Q = np.linalg.qr(rng.normal(size=(50, 50)))[0]
        return jnp.asarray(Q @ np.diag(np.geomspace(1e-3, 1.0, 50)) @ Q.T)

    P, R, C = curved(), curved(), rng.normal(size=(50, 50))
    C = jnp.asarray(C / np.linalg.norm(C, 2))
    b, c = (jnp.asarray(v) for v in rng.normal(size=(2, 50)))
    saddle = Saddle(lambda x, y: 0.5 * x @ P @ x + x @ C @ y - 0.5 * y @ R @ y + b @ x + c @ y)
    return Case(saddle, saddle.start((jnp.zeros(50), jnp.zeros(50))))


def _matrix_game(A: np.ndarray) -> Case:
    """The rows' player pays $x^\\top A y$ to the columns' player, both by mixed strategies."""
    m, n = A.shape
    A_ = jnp.asarray(A)
    saddle = Saddle(
        lambda x, y: x @ A_ @ y, Simplex(), Simplex(), lambda x, y: jnp.max(x @ A_) - jnp.min(A_ @ y)
    )
    return Case(saddle, saddle.start((jnp.full(m, 1 / m), jnp.full(n, 1 / n))))


@problem(
    "policeman-burglar",
    title="Matrix game: a burglar chooses one of 50 houses, a policeman where to wait",
    source="Nemirovski 2013, Mini-course on convex programming algorithms; wealth of houses drawn",
)
def policeman_burglar() -> Case:
    """The nearer the policeman, the less a burglary brings."""
    n, nearness = 50, 0.8
    wealth = np.abs(np.random.default_rng(0).normal(size=n))
    distance = np.abs(np.arange(n)[:, None] - np.arange(n))
    return _matrix_game(wealth * (1 - np.exp(-nearness * distance)))


@problem(
    "nemirovski-game",
    title="Matrix game: ((i + j - 1) / (2n - 1)) to the power 2, 100 rows and columns",
    source="Nemirovski 2013, Mini-course on convex programming algorithms",
)
def nemirovski_game() -> Case:
    i = np.arange(1, 101)
    return _matrix_game(((i[:, None] + i - 1) / 199) ** 2)


@problem(
    "robust-least-squares",
    title="Saddle point: least squares against targets moved by an adversary, diabetes",
    source="El Ghaoui, Lebret 1997, Robust solutions to least-squares problems; data of scikit-learn",
)
def robust_least_squares() -> Case:
    """The adversary moves the targets of all patients together by at most a tenth of their length."""
    X, y = (jnp.asarray(v) for v in data.diabetes())
    n, p = X.shape
    radius = 0.1 * n**0.5
    saddle = Saddle(
        lambda w, moved: 0.5 * jnp.mean((X @ w - y - moved) ** 2) - jnp.mean(moved**2),
        SquaredL2(1e-3),
        L2Ball(radius),
    )
    return Case(saddle, saddle.start((jnp.zeros(p), jnp.zeros(n))))


@problem(
    "robust-logistic",
    title="Saddle point: logistic regression under the worst weights of the data, breast cancer",
    source="Namkoong, Duchi 2016, Stochastic gradient methods for distributionally robust optimization; "
    "data bundled with scikit-learn",
)
def robust_logistic() -> Case:
    """A mean over patients $i$ of $q_i \\ell_i(w) - (q_i - 1)^2 / 2$, with weights $q$ of mean one.

    The unknown is $q / \\sqrt n$, in which the adversary's curvature is one too.
    """
    X, y = data.breast_cancer()
    n = len(y)
    rows = jnp.asarray(X * (2 * y - 1)[:, None])
    place = jnp.eye(n, dtype=rows.dtype)

    def loss(w, q, datum):
        row, mine = datum
        weight = n**0.5 * (mine @ q)
        return weight * jnp.logaddexp(0.0, -row @ w) - 0.5 * (weight - 1) ** 2

    saddle = FiniteSumSaddle(loss, (rows, place), SquaredL2(0.02), Simplex(n**0.5))
    return Case(saddle, saddle.start((jnp.full(X.shape[1], 0.1), jnp.full(n, n**-0.5))))


@problem(
    "monotone-sum",
    title="Inclusion: a mean of 1,000 skew and curved affine operators, 40 unknowns",
    source="drawn; after Cai, Alacaoglu, Diakonikolas 2024, arXiv 2310.02987",
)
def monotone_sum() -> Case:
    """Each component turns one plane and is curved along one vector; together they are well conditioned."""
    n, d = 1000, 40
    rng = np.random.default_rng(0)
    rows, b = rng.normal(size=(n, 3, d)) / d**0.5, rng.normal(size=(n, d))

    def component(z, datum):
        (u, v, w), b = datum
        of_u, of_v, of_w = datum[0] @ z
        return d * (u * of_v - v * of_u + w * of_w) + 0.05 * z - b

    made = FiniteSumInclusion(component, (jnp.asarray(rows), jnp.asarray(b)))
    return Case(made, jnp.zeros(d))
