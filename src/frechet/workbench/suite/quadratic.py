"""Quadratic programs: a portfolio, the dual of a support vector machine, predictive control."""

import jax.numpy as jnp
import numpy as np

from frechet.problems import KKTPoint, QuadraticProgram
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem


@problem(
    "markowitz",
    title="Portfolio of least variance with a return to reach, quadratic program in 7 weights",
    source="Monthly prices 2004 to 2022 (Yahoo Finance), from Matplotlib",
)
def markowitz() -> Case:
    """Half the variance of the monthly return in percent; at least 1.8 % a month, no share above 40 %."""
    returns = data.monthly_returns()
    mean = returns.mean(axis=0)
    program = QuadraticProgram(
        P=np.cov(returns.T, bias=True),
        A=np.ones((1, 7)),
        b=np.ones(1),
        G=-mean[None],
        h=np.array([-1.8]),
        lower=0.0,
        upper=0.4,
    )
    # optimum: Clarabel, then the normal equations of the bounds and rows it found active
    return Case(program, KKTPoint(jnp.full(7, 0.35), jnp.zeros(1), jnp.ones(1)), optimum=15.66729289260174)


@problem(
    "svm-dual",
    title="Dual of a support vector machine, threes against eights, quadratic program in 357 multipliers",
    source="Handwritten digits (Alpaydin and Kaynak 1998), from scikit-learn",
)
def svm_dual() -> Case:
    r"""Kernel $e^{-\|a-b\|^2 / 16}$ on grey values in [0, 1], with an intercept, C = 1."""
    X, digit = data.digits()
    chosen = (digit == 3) | (digit == 8)
    X, sign = X[chosen], np.where(digit[chosen] == 3, 1.0, -1.0)
    squares = np.sum(X**2, axis=1)
    kernel = np.exp(-np.maximum(squares[:, None] + squares - 2 * X @ X.T, 0) / 16)
    n = len(sign)
    program = QuadraticProgram(
        P=kernel * np.outer(sign, sign),
        q=-np.ones(n),
        A=sign[None],
        b=np.zeros(1),
        lower=0.0,
        upper=1.0,
    )
    # optimum: Clarabel, then the normal equations of the bounds it found active
    return Case(program, KKTPoint(jnp.full(n, 0.5), jnp.zeros(1)), optimum=-45.850777894062446)


@problem(
    "mpc",
    title="Predictive control of a double integrator over 20 steps, quadratic program in 60 unknowns",
    source="Borrelli, Bemporad, Morari 2017, Predictive Control for Linear and Hybrid Systems",
)
def mpc() -> Case:
    """From rest at position 5.3 to rest at zero; thrust within 0.4 and velocity within 1."""
    steps, dynamics, thrust = 20, np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[0.5], [1.0]])
    # the unknowns are each step's thrust, then each step's position and velocity after it
    A = np.zeros((2 * steps, 3 * steps))
    A[:, :steps] = -np.kron(np.eye(steps), thrust)
    A[:, steps:] = np.eye(2 * steps) - np.kron(np.eye(steps, k=-1), dynamics)
    b = np.zeros(2 * steps)
    b[:2] = dynamics @ np.array([5.3, 0.0])
    speed = np.tile([np.inf, 1.0], steps)
    bound = np.concatenate([np.full(steps, 0.4), speed])
    P = np.diag(np.concatenate([np.full(steps, 0.1), np.ones(2 * steps)]))
    program = QuadraticProgram(P=P, q=np.zeros(3 * steps), A=A, b=b, lower=-bound, upper=bound)
    # optimum: Clarabel, then the normal equations of the bounds it found active
    x0 = np.concatenate([np.full(steps, 0.4), np.tile([4.0, 1.0], steps)])
    start = KKTPoint(jnp.asarray(x0), jnp.zeros(2 * steps))
    return Case(program, start, optimum=36.81052845211284)
