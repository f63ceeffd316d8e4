"""The problem over a working set: coordinate descent, extrapolated by Newton steps."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Scalar

from frechet.convex.function import Function
from frechet.core import tree
from frechet.losses.linear_model import LinearModel
from frechet.solvers.coordinate.columns import Columns, take_columns
from frechet.solvers.rounding import rounding
from frechet.solvers.second_order.truncated_cg import truncated_cg

# Most turns of the loop; a Newton step's most products, its relative accuracy and its shortest length.
TURNS, PRODUCTS, ACCURACY, SHORTEST = 25, 100, 0.3, 1e-3


def slope(f: LinearModel, z: Array, y: Array) -> Array:
    """First derivative of the pointwise loss in each prediction."""
    return jax.jvp(lambda z: f.pointwise(z, y), (z,), (jnp.ones_like(z),))[1]


def bend(f: LinearModel, z: Array, y: Array) -> Array:
    """Second derivative of the pointwise loss in each prediction."""
    return jax.jvp(lambda z: slope(f, z, y), (z,), (jnp.ones_like(z),))[1]


def prox_and_derivative(g: Function, value: Array, index: Array, step: Array) -> tuple[Array, Array]:
    """The proximal map of each coordinate and its derivative, one of the pieces' at a kink."""
    return jax.jvp(lambda v: g.prox_coordinate(v, index, step), (value,), (jnp.ones_like(value),))


class Point(NamedTuple):
    r"""A point of the subproblem.

    Attributes:
        w: the coordinates in the working set.
        z: the predictions $Xw$.
        residual: $w - \mathrm{prox}(w - \nabla_j f / L_j)$, coordinate by coordinate.
        derivative: of that proximal map; zero where it holds the coordinate fixed.
        objective: $f + g$.
        violation: see `violation`.
    """

    w: Float[Array, " m"]
    z: Float[Array, " n"]
    residual: Float[Array, " m"]
    derivative: Float[Array, " m"]
    objective: Scalar
    violation: Scalar


class Subproblem(eqx.Module):
    """The composite problem over the first ``size`` coordinates in ``which``, the others held at ``x``."""

    f: LinearModel
    g: Function
    scale: Array
    x: Float[Array, " p"]
    which: Int[Array, " m"]
    size: Int[Array, ""]
    A: Columns
    lipschitz: Float[Array, " m"]

    def epoch(self, w: Array, z: Array) -> tuple[Array, Array]:
        """Minimises along each coordinate in turn (exactly if f is quadratic, else a majoriser)."""

        def update(j: Int[Array, ""], carry: tuple[Array, Array]) -> tuple[Array, Array]:
            # `w` is only read and `new` only written, which spares a copy of either in every turn.
            new, z = carry
            s = self.A.rows(j, self.scale) * slope(self.f, self.A.rows(j, z), self.A.rows(j, self.f.y))
            step = 1 / self.lipschitz[j]
            gradient = jnp.sum(self.A.entries(j) * s)
            value = self.g.prox_coordinate(w[j] - step * gradient, self.which[j], step)
            return new.at[j].set(value), self.A.add(z, j, value - w[j])

        return lax.fori_loop(0, self.size, update, (w, z))

    def look(self, w: Array, z: Array) -> Point:
        """How far a point is from solving the subproblem."""
        gradient = self.A.correlate(self.scale * slope(self.f, z, self.f.y), self.size)
        at = jnp.minimum(self.which, self.x.size - 1)
        ahead, derivative = prox_and_derivative(self.g, w - gradient / self.lipschitz, at, 1 / self.lipschitz)
        valid = jnp.arange(w.size) < self.size
        residual, derivative = jnp.where(valid, w - ahead, 0), jnp.where(valid, derivative, 0)
        worst = violation(self.lipschitz, w, gradient, residual)
        return Point(w, z, residual, derivative, self.objective(w, z), worst)

    def objective(self, w: Array, z: Array) -> Scalar:
        """$f + g$, for the predictions that belong to ``w``."""
        value = jnp.sum(self.scale * self.f.pointwise(z, self.f.y))
        return value + self.g(self.x.at[self.which].set(w, mode="drop"))

    def newton(self, p: Point, limit: Int[Array, ""]) -> tuple[Array, Array, Int[Array, ""]]:
        r"""A semismooth Newton step on the residual, and the products with the Hessian it took.

        With $D = \mathrm{diag}(1/L)$ and P the derivative of the proximal map the system is
        $(I - P + P D H)\,d = -F$. Where $P_j = 0$ it says $d_j = -F_j$; the other rows, divided by $P_j D_j$,
        are symmetric positive semidefinite. The step is the longest of $1, \tfrac12, \dots$ that raises the
        objective by no more than rounding: a full one may cross kinks of g, beyond which the model is wrong.
        """
        L = self.lipschitz
        free = p.derivative > 0
        P = jnp.where(free, p.derivative, 1)
        h = self.scale * bend(self.f, p.z, self.f.y)
        diagonal = (1 - P) / P * L + jnp.sqrt(jnp.finfo(L.dtype).eps) * L
        # In the unknowns d / s the Hessian's diagonal is about one.
        s = jnp.where(free, 1 / jnp.sqrt(L + diagonal), 0)

        def product(v: Array) -> Array:
            Hv = self.A.correlate(h * self.A.times(s * v, self.size), self.size)
            return jnp.where(free, s * Hv + s * s * diagonal * v, 0)

        d, products = truncated_cg(product, s * p.residual * L / P, ACCURACY, limit)  # pyright: ignore
        d = jnp.where(free, s * d, -p.residual)
        Ad = self.A.times(d, self.size)

        def rises(t: Scalar) -> Bool[Array, ""]:
            ahead = self.objective(p.w + t * d, p.z + t * Ad)
            return (ahead > p.objective + rounding(ahead, p.objective)) & (t > SHORTEST) & (limit > 0)

        t = lax.while_loop(rises, lambda t: t / 2, jnp.ones((), d.dtype))
        return p.w + t * d, p.z + t * Ad, products

    def solve(self, z: Array, tol: Scalar) -> tuple[Array, Array, Int[Array, ""]]:
        """Turns until the violation is at most ``tol``: x, its predictions, and coordinate updates.

        A turn is a Newton step and an epoch. If together they raise the objective they are taken back and the
        next turn is an epoch alone, so descent never depends on the Newton step.
        """
        w = self.x.at[self.which].get(mode="fill", fill_value=0)
        zero, inf = jnp.zeros_like(w), jnp.asarray(jnp.inf, w.dtype)

        def turn(carry: tuple) -> tuple:
            point, extrapolate, turns, updates = carry
            w, z, products = self.newton(point, jnp.where(extrapolate, PRODUCTS, 0))
            w, z = tree.where(extrapolate, (w, z), (point.w, point.z))
            new = self.look(*self.epoch(w, z))
            slack = rounding(new.objective, point.objective)
            good = ~extrapolate | (new.objective <= point.objective + slack)
            # A product and a look each cost what an epoch does: one dot product a column, or two.
            return tree.where(good, new, point), good, turns + 1, updates + self.size * (products + 2)

        def unsolved(carry: tuple) -> Bool[Array, ""]:
            return (carry[0].violation > tol) & (carry[2] < TURNS)

        none = jnp.zeros((), int)
        start = (Point(w, z, zero, zero, inf, inf), jnp.asarray(False), none, none)
        point, _, _, updates = lax.while_loop(unsolved, turn, start)
        return self.x.at[self.which].set(point.w, mode="drop"), point.z, updates


def violation(lipschitz: Array, x: Array, gradient: Array, residual: Array) -> Scalar:
    r"""$\max_j \sqrt{L_j}\,|\mathrm{residual}_j|$, whose square is an objective; 0 where it is rounding."""
    root = jnp.sqrt(lipschitz)
    noise = 8 * jnp.finfo(x.dtype).eps * jnp.max(root * jnp.abs(x) + jnp.abs(gradient) / root)
    worst = jnp.max(root * jnp.abs(residual))
    return jnp.where(worst <= noise, 0, worst)


def subproblem(
    f: LinearModel, g: Function, scale: Array, x: Array, which: Array, size: Array, lipschitz: Array
) -> Subproblem:
    """The subproblem of some coordinates; ``which`` ends in the number p, which stands for none."""
    L = lipschitz.at[which].get(mode="fill", fill_value=1)
    return Subproblem(f, g, scale, x, which, size, take_columns(f, which), L)
