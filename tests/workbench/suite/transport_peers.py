"""Peers of the suite's transport problems: Newton's method on the dual in NumPy, and SciPy's HiGHS."""

from typing import Any

import jax
import numpy as np
import scipy.optimize
import scipy.sparse

from frechet.problems import Potentials
from frechet.workbench import suite


def newton(C, a, b, plan_of, value, penalty, f, g):
    """Maximises the dual from near its maximum; ``plan_of`` gives the plan of slacks and its derivative."""

    def dual(f, g):
        ends = ((f, a), (g, b))
        gains = [v @ w if penalty is None else -penalty * w @ np.expm1(-v / penalty) for v, w in ends]
        return sum(gains) - value(f[:, None] + g - C)

    held = lambda v, w: w if penalty is None else w * np.exp(-v / penalty)  # noqa: E731
    for _ in range(20):
        P, Q = plan_of(f[:, None] + g - C)
        r, s = held(f, a) - P.sum(1), held(g, b) - P.sum(0)
        if np.abs(r).sum() + np.abs(s).sum() < 1e-13:
            break
        d, e = Q.sum(1), Q.sum(0)
        if penalty is not None:
            d, e = d + held(f, a) / penalty, e + held(g, b) / penalty
        S = np.diag(e) - Q.T @ (Q / d[:, None])
        if penalty is None:  # the constant that is free
            S += np.outer(b, b) * e.sum()
        dg = np.linalg.solve(S, s - Q.T @ (r / d))
        df, t, before = (r - Q @ dg) / d, 1.0, dual(f, g)
        while t > 1e-6 and dual(f + t * df, g + t * dg) < before - 1e-15 * abs(before):
            t /= 2
        f, g = f + t * df, g + t * dg
    shift = (f @ a - g @ b) / 2 if penalty is None else 0.0
    return Potentials(f - shift, g + shift)


def entropic(C, a, b, epsilon, penalty):
    """Scalings, then Newton's method."""
    K, v = np.exp(-C / epsilon), np.ones(len(b))
    pull = 1 if penalty is None else penalty / (penalty + epsilon)
    for _ in range(500):
        u = (K @ (b * v)) ** -pull
        v = (K.T @ (a * u)) ** -pull

    def plan_of(S):
        P = np.exp(S / epsilon) * a[:, None] * b
        return P, P / epsilon

    start = epsilon * np.log(u), epsilon * np.log(v)
    return newton(C, a, b, plan_of, lambda S: epsilon * (plan_of(S)[0].sum() - 1), penalty, *start)


def quadratic(C, a, b, gamma):
    """SciPy's L-BFGS, then Newton's method on the active set."""

    def plan_of(S):
        return np.maximum(S, 0) / gamma, (S > 0) / gamma

    def value(S):
        return (np.maximum(S, 0) ** 2).sum() / (2 * gamma)

    def minus(z):
        f, g = np.split(z, [len(a)])
        S = f[:, None] + g - C
        P = plan_of(S)[0]
        return value(S) - f @ a - g @ b, np.concatenate([P.sum(1) - a, P.sum(0) - b])

    options = {"maxiter": 20_000, "maxfun": 20_000, "ftol": 0, "gtol": 1e-8, "maxcor": 30}
    start = np.zeros(len(a) + len(b))
    found = scipy.optimize.minimize(minus, start, jac=True, method="L-BFGS-B", options=options)
    return newton(C, a, b, plan_of, value, None, *np.split(found.x, [len(a)]))


def linear(C, a, b):
    m, n = C.shape
    eye, ones = scipy.sparse.eye, np.ones
    A = scipy.sparse.vstack(
        [scipy.sparse.kron(eye(m), ones((1, n))), scipy.sparse.kron(ones((1, m)), eye(n))]
    )
    found = scipy.optimize.linprog(C.ravel(), A_eq=A.tocsr(), b_eq=np.concatenate([a, b]), method="highs")
    f, g = np.split(found.eqlin.marginals, [m])
    shift = (f @ a - g @ b) / 2
    return Potentials(f - shift, g + shift, found.x.reshape(m, n))


def solved(name):
    with jax.enable_x64(True):
        problem: Any = suite.load(name).problem
        C, a, b = map(np.asarray, (problem.cost.matrix(), problem.a, problem.b))
    regulariser = problem.regulariser
    if regulariser is None:
        return linear(C, a, b)
    if hasattr(regulariser, "epsilon"):
        return entropic(C, a, b, float(regulariser.epsilon), problem.unbalanced[0])
    # of the bound on entries the optimum takes no notice
    return quadratic(C, a, b, float(regulariser.gamma))


PEERS = {name: (lambda name=name: solved(name)) for name in suite.names() if name.startswith("ot-")}
