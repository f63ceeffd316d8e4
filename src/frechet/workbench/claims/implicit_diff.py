"""Claims of "Efficient and Modular Implicit Differentiation" (Blondel et al. 2022, arXiv 2105.15183)."""

import jax
import jax.numpy as jnp
import numpy as np

import frechet as fr
from frechet.core.solve import Differentiate
from frechet.solvers.proximal.fista import FISTA
from frechet.workbench.claims import Evidence, claim

SYSTEM = "implicit-diff"
RULES: tuple[Differentiate, ...] = ("implicit", "unroll")


def _regression(n: int = 30, p: int = 5, seed: int = 0) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return jnp.asarray(X), jnp.asarray(X @ rng.normal(size=p) + 0.1 * rng.normal(size=n))


def _ridge(X: jax.Array, y: jax.Array, lam) -> fr.Composite:
    return fr.Composite(lambda w: 0.5 * jnp.sum((X @ w - y) ** 2) + 0.5 * lam * jnp.sum(w**2))


def _solved(problem: fr.Problem, p: int, tol: float = 1e-12, **kwargs) -> jax.Array:
    return fr.solve(problem, jnp.zeros(p), FISTA(), tol=tol, max_steps=100_000, **kwargs).x


@claim(SYSTEM, "the derivative of ridge regression in lambda is -(X'X + lambda I)^-1 w*, to 1e-10")
def ridge() -> Evidence:
    X, y = _regression()
    lam = 0.7
    A = np.asarray(X.T @ X) + lam * np.eye(5)
    exact = -np.linalg.solve(A, np.linalg.solve(A, np.asarray(X.T @ y)))
    x_of = lambda lam: _solved(_ridge(X, y, lam), 5)  # noqa: E731
    forward, reverse = jax.jacfwd(x_of)(lam), jax.jacrev(x_of)(lam)
    rows = [
        {"mode": name, "largest error": float(np.max(np.abs(got - exact)))}
        for name, got in (("forward", forward), ("reverse", reverse))
    ]
    return Evidence.at_most(1e-10, max(r["largest error"] for r in rows), note="against NumPy", rows=rows)


@claim(SYSTEM, "forward and reverse products are adjoint to rounding, in the data as well as in lambda")
def adjoint() -> Evidence:
    X, y = _regression()
    rng = np.random.default_rng(1)
    dX, dy, w = (jnp.asarray(rng.normal(size=s)) for s in (X.shape, y.shape, 5))
    x_of = lambda X, y, lam: _solved(_ridge(X, y, lam), 5)  # noqa: E731
    _, forward = jax.jvp(x_of, (X, y, 0.7), (dX, dy, 0.3))
    gX, gy, glam = jax.vjp(x_of, X, y, 0.7)[1](w)
    a, b = w @ forward, jnp.sum(gX * dX) + gy @ dy + 0.3 * glam
    return Evidence.at_most(
        1e-12, float(abs(a - b) / abs(a)), note="relative difference of <w, Jv> and <J'w, v>"
    )


@claim(
    SYSTEM, "the Jacobian's error is of the order of the solution's: slope 1 over five decades (Theorem 1)"
)
def stability() -> Evidence:
    X, y = _regression()
    labels = (y > 0).astype(X.dtype)

    def x_of(lam, tol):
        def loss(w):
            return jnp.mean(jnp.logaddexp(0.0, X @ w) - labels * (X @ w)) + 0.5 * lam * w @ w

        return _solved(fr.Composite(loss), 5, tol)

    jacobian = lambda tol: jax.jacfwd(lambda lam: x_of(lam, tol))(0.1)  # noqa: E731
    x_star, j_star = x_of(0.1, 1e-14), jacobian(1e-14)
    rows = [
        {
            "tol": tol,
            "|x - x*|": float(jnp.linalg.norm(x_of(0.1, tol) - x_star)),
            "|J - J*|": float(jnp.linalg.norm(jacobian(tol) - j_star)),
        }
        for tol in np.logspace(-2, -7, 11)
    ]
    dx, dj = ([r[k] for r in rows] for k in ("|x - x*|", "|J - J*|"))
    slope = np.polyfit(np.log(dx), np.log(dj), 1)[0]
    return Evidence.equal(1.0, float(slope), tolerance=0.1, note="log-log slope", rows=rows)


@claim(SYSTEM, "a lasso's derivative lives on the active set and is the restricted least-squares formula")
def lasso() -> Evidence:
    X, y = _regression()
    n, lam = len(y), 0.4
    x_of = lambda lam: _solved(fr.Composite(fr.losses.Squared(X, y), fr.convex.L1(lam)), 5, 1e-13)  # noqa: E731
    x = np.asarray(x_of(lam))
    active = x != 0
    A = np.asarray(X)[:, active]
    exact = np.zeros(5)
    exact[active] = -np.linalg.solve(A.T @ A / n, np.sign(x[active]))
    error = float(np.max(np.abs(jax.jacfwd(x_of)(lam) - exact)))
    if not 0 < active.sum() < 5:
        error = np.nan  # no claim is tested where nothing or everything is active
    return Evidence.at_most(1e-9, error, note=f"{active.sum()} of 5 coefficients active")


@claim(SYSTEM, "second derivatives come by nesting")
def second_derivative() -> Evidence:
    X, y = _regression()
    A = X.T @ X
    exact = lambda lam: jnp.sum(jnp.linalg.solve(A + lam * jnp.eye(5), X.T @ y) ** 2)  # noqa: E731
    got = jax.grad(jax.grad(lambda lam: jnp.sum(_solved(_ridge(X, y, lam), 5) ** 2)))(0.7)
    want = jax.grad(jax.grad(exact))(0.7)
    return Evidence.at_most(1e-8, float(abs(got / want - 1)), note="relative, against the closed form")


@claim(SYSTEM, "agrees with Optimistix's implicit adjoint and with an unrolled derivative, to 1e-6")
def peers() -> Evidence:
    import optimistix as optx

    X, y = _regression()
    ours = jax.grad(lambda lam: jnp.sum(_solved(_ridge(X, y, lam), 5) ** 2))(0.7)

    def optimistix(lam):
        loss = lambda w, lam: 0.5 * jnp.sum((X @ w - y) ** 2) + 0.5 * lam * jnp.sum(w**2)  # noqa: E731
        solver = optx.BFGS(rtol=1e-12, atol=1e-12)
        return jnp.sum(optx.minimise(loss, solver, jnp.zeros(5), lam, max_steps=1000).value ** 2)

    step = 1 / (float(jnp.linalg.norm(X, 2)) ** 2 + 0.7)

    def unrolled(lam):
        descend = lambda w, _: (w - step * (X.T @ (X @ w - y) + lam * w), None)  # noqa: E731
        return jnp.sum(jax.lax.scan(descend, jnp.zeros(5), None, length=100_000)[0] ** 2)

    references = {
        "Optimistix ImplicitAdjoint": jax.grad(optimistix)(0.7),
        "100,000 gradient steps, forward mode": jax.jvp(unrolled, (0.7,), (1.0,))[1],
    }
    rows = [{"reference": k, "relative difference": float(abs(ours / v - 1))} for k, v in references.items()]
    return Evidence.at_most(1e-6, max(r["relative difference"] for r in rows), rows=rows)


@claim(
    SYSTEM,
    "each kind of optimality map gives the right derivative, to the accuracy of finite differences",
    fast=False,
)
def catalogue() -> Evidence:
    X, y = _regression()
    squared = fr.losses.Squared(X, y)
    start = jnp.full(5, 0.2)
    kinds = {
        "gradient": lambda t: _ridge(X, y, t),
        "proximal gradient": lambda t: fr.Composite(squared, fr.convex.ElasticNet(t / 3, 0.2)),
        "projected gradient": lambda t: fr.Composite(squared, fr.convex.L2Ball(t)),
        "simplex projection": lambda t: fr.Composite(squared, fr.convex.Simplex(t)),
        "least squares": lambda t: fr.LeastSquares(lambda x: X @ jnp.tanh(x) - t * y),
        "root": lambda t: fr.Root(lambda x: x**3 + x - t),
        "fixed point": lambda t: fr.FixedPoint(lambda x: 0.5 * jnp.cos(t * x)),
    }
    h = 1e-5
    rows = []
    for name, make in kinds.items():
        x_of = lambda t, make=make: fr.solve(make(t), start, tol=1e-12, max_steps=100_000).x  # noqa: E731
        got = jax.jacfwd(x_of)(0.7)
        want = (x_of(0.7 + h) - x_of(0.7 - h)) / (2 * h)
        error = float(jnp.linalg.norm(got - want) / jnp.linalg.norm(want))
        # Central differences err by h^2 times a third derivative, and by the tolerance over h.
        rows.append({"optimality map": name, "relative error": error, "holds": error < 1e-5})
    return Evidence.table(rows, note="against central finite differences of the solution")


@claim(SYSTEM, "memory does not grow with the number of steps, where unrolling's does")
def memory() -> Evidence:
    X, y = _regression()

    def bytes_of(rule: Differentiate, steps: int) -> int:
        f = lambda lam: jnp.sum(  # noqa: E731
            fr.solve(_ridge(X, y, lam), jnp.zeros(5), FISTA(), max_steps=steps, differentiate=rule).x
        )
        analysis = jax.jit(jax.grad(f)).lower(0.7).compile().memory_analysis()
        return analysis.temp_size_in_bytes  # pyright: ignore[reportOptionalMemberAccess]

    rows = [
        {"rule": rule, "100 steps": bytes_of(rule, 100), "10,000 steps": bytes_of(rule, 10_000)}
        for rule in RULES
    ]
    growth = {r["rule"]: r["10,000 steps"] / max(r["100 steps"], 1) for r in rows}
    note = f"bytes of temporaries; unrolling grows {growth['unroll']:.0f}-fold for a hundredfold steps"
    return Evidence(
        1.0, growth["implicit"], growth["implicit"] <= 1.0 < growth["unroll"], "≤", None, "-fold", note, rows
    )
