"""Problems of Hock and Schittkowski 1981, Test Examples for Nonlinear Programming Codes, by number."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import frechet as fr


class Example(NamedTuple):
    """A problem, the book's start and the least objective it gives."""

    problem: fr.Constrained
    x0: np.ndarray
    optimum: float


def _of(f, x0, optimum, eq=None, at_least=None, lower=None, upper=None) -> Example:
    """``at_least`` is nowhere below zero at a feasible point, as the book writes inequalities."""
    ineq = None if at_least is None else lambda x: -at_least(x)
    bounded = lower is not None or upper is not None
    ends = (-jnp.inf if lower is None else jnp.array(lower), jnp.inf if upper is None else jnp.array(upper))
    g = fr.convex.Box(*ends) if bounded else fr.convex.Zero()
    return Example(fr.Constrained(f, eq, ineq, g), np.asarray(x0, float), optimum)


def hs6():
    return _of(lambda x: (1 - x[0]) ** 2, [-1.2, 1], 0.0, eq=lambda x: 10 * (x[1] - x[0] ** 2))


def hs7():
    return _of(
        lambda x: jnp.log(1 + x[0] ** 2) - x[1],
        [2, 2],
        -np.sqrt(3),
        eq=lambda x: (1 + x[0] ** 2) ** 2 + x[1] ** 2 - 4,
    )


def hs26():
    return _of(
        lambda x: (x[0] - x[1]) ** 2 + (x[1] - x[2]) ** 4,
        [-2.6, 2, 2],
        0.0,
        eq=lambda x: (1 + x[1] ** 2) * x[0] + x[2] ** 4 - 3,
    )


def hs28():
    return _of(
        lambda x: (x[0] + x[1]) ** 2 + (x[1] + x[2]) ** 2,
        [-4, 1, 1],
        0.0,
        eq=lambda x: x @ jnp.array([1.0, 2.0, 3.0]) - 1,
    )


def hs35():
    def f(x):
        a, b, c = x
        return 9 - 8 * a - 6 * b - 4 * c + 2 * a**2 + 2 * b**2 + c**2 + 2 * a * b + 2 * a * c

    return _of(f, [0.5] * 3, 1 / 9, at_least=lambda x: 3 - x[0] - x[1] - 2 * x[2], lower=[0.0] * 3)


def hs39():
    return _of(
        lambda x: -x[0],
        [2, 2, 2, 2],
        -1.0,
        eq=lambda x: jnp.stack([x[1] - x[0] ** 3 - x[2] ** 2, x[0] ** 2 - x[1] - x[3] ** 2]),
    )


def hs40():
    return _of(
        lambda x: -jnp.prod(x),
        [0.8] * 4,
        -0.25,
        eq=lambda x: jnp.stack([x[0] ** 3 + x[1] ** 2 - 1, x[0] ** 2 * x[3] - x[2], x[3] ** 2 - x[1]]),
    )


def hs48():
    return _of(
        lambda x: (x[0] - 1) ** 2 + (x[1] - x[2]) ** 2 + (x[3] - x[4]) ** 2,
        [3, 5, -3, 2, -2],
        0.0,
        eq=lambda x: jnp.stack([x.sum() - 5, x[2] - 2 * (x[3] + x[4]) + 3]),
    )


def hs65():
    return _of(
        lambda x: (x[0] - x[1]) ** 2 + (x[0] + x[1] - 10) ** 2 / 9 + (x[2] - 5) ** 2,
        [-5, 5, 0],
        0.9535288567,
        at_least=lambda x: 48 - x @ x,
        lower=[-4.5, -4.5, -5.0],
        upper=[4.5, 4.5, 5.0],
    )


def hs71():
    return _of(
        lambda x: x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2],
        [1, 5, 5, 1],
        17.0140173,
        eq=lambda x: x @ x - 40,
        at_least=lambda x: jnp.prod(x) - 25,
        lower=[1.0] * 4,
        upper=[5.0] * 4,
    )


def hs76():
    def f(x):
        a, b, c, d = x
        return a**2 + b**2 / 2 + c**2 + d**2 / 2 - a * c + c * d - a - 3 * b + c - d

    def at_least(x):
        a, b, c, d = x
        return jnp.stack([5 - a - 2 * b - c - d, 4 - 3 * a - b - 2 * c + d, b + 4 * c - 1.5])

    return _of(f, [0.5] * 4, -4.681818181, at_least=at_least, lower=[0.0] * 4)


def hs100():
    def f(x):
        a, b, c, d, e, g, h = x
        first = (a - 10) ** 2 + 5 * (b - 12) ** 2 + c**4 + 3 * (d - 11) ** 2 + 10 * e**6
        return first + 7 * g**2 + h**4 - 4 * g * h - 10 * g - 8 * h

    def at_least(x):
        a, b, c, d, e, g, h = x
        rows = [
            127 - 2 * a**2 - 3 * b**4 - c - 4 * d**2 - 5 * e,
            282 - 7 * a - 3 * b - 10 * c**2 - d + e,
            196 - 23 * a - b**2 - 6 * g**2 + 8 * h,
            -4 * a**2 - b**2 + 3 * a * b - 2 * c**2 - 5 * g + 11 * h,
        ]
        return jnp.stack(rows)

    return _of(f, [1, 2, 0, 4, 0, 1, 1], 680.6300573, at_least=at_least)


def hs113():
    centre = jnp.array([10.0, 5.0, 3.0, 1.0, 0.0, 11.0, 10.0, 7.0])
    weight = jnp.array([1.0, 4.0, 1.0, 2.0, 5.0, 7.0, 2.0, 1.0])

    def f(x):
        a, b = x[:2]
        return a**2 + b**2 + a * b - 14 * a - 16 * b + weight @ (x[2:] - centre) ** 2 + 45

    def at_least(x):
        a, b, c, d, e, g, h, i, j, k = x
        rows = [
            105 - 4 * a - 5 * b + 3 * h - 9 * i,
            -10 * a + 8 * b + 17 * h - 2 * i,
            8 * a - 2 * b - 5 * j + 2 * k + 12,
            -3 * (a - 2) ** 2 - 4 * (b - 3) ** 2 - 2 * c**2 + 7 * d + 120,
            -5 * a**2 - 8 * b - (c - 6) ** 2 + 2 * d + 40,
            -0.5 * (a - 8) ** 2 - 2 * (b - 4) ** 2 - 3 * e**2 + g + 30,
            -(a**2) - 2 * (b - 2) ** 2 + 2 * a * b - 14 * e + 6 * g,
            3 * a - 6 * b - 12 * (j - 8) ** 2 + 7 * k,
        ]
        return jnp.stack(rows)

    return _of(f, [2, 3, 5, 5, 1, 2, 7, 3, 6, 10], 24.3062091, at_least=at_least)


EXAMPLES = {
    make.__name__: make
    for make in (hs6, hs7, hs26, hs28, hs35, hs39, hs40, hs48, hs65, hs71, hs76, hs100, hs113)
}
