"""Functionals of measures in closed form, as functions of particles."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from frechet.convex.parameters import floating, known, modulus, norm, parameter
from frechet.core import lift
from frechet.problems.matching import matching


class InteractionEnergy(eqx.Module):
    r"""$\frac1n\sum_i V(w_i) + \frac1{2n^2}\sum_{i\ne j} W(w_i - w_j)$.

    Displacement convex where the potential $V$ and the kernel $W$ are convex. $O(n^2)$ kernels.

    Args:
        kernel: $W$, from a difference of two particles to a scalar; even, with $W(0) = 0$.
        potential: $V$, from a particle to a scalar; nothing when left out.

    Source:
        McCann 1997, A convexity principle for interacting gases.

    Example:
        >>> energy = InteractionEnergy(lambda d: jnp.sum(d**2), lambda w: jnp.sum(w**2))
        >>> float(energy(jnp.array([[1.0], [-1.0]])))  # (1 + 1) / 2 + (4 + 4) / 8
        2.0
    """

    kernel: Callable[[Array], Scalar]
    potential: Callable[[Array], Scalar] | None = None

    def __call__(self, w: Float[Array, "n *d"]) -> Scalar:
        n = w.shape[0]
        itself = jnp.eye(n, dtype=bool)
        apart = w[:, None] - w[None]
        # A particle does not act on itself, and a kernel may have no derivative at zero.
        apart = jnp.where(itself.reshape(n, n, *[1] * (w.ndim - 1)), 1, apart)
        pairs = jax.vmap(jax.vmap(lambda d: lift.call(self.kernel, d)))(apart)
        energy = jnp.sum(jnp.where(itself, 0, pairs)) / (2 * n**2)
        potential = self.potential
        if potential is None:
            return energy
        return energy + jnp.mean(jax.vmap(lambda v: lift.call(potential, v))(w))

    def lifted(self, w: Any) -> "InteractionEnergy":
        """With kernel and potential made pytrees."""
        one = jax.ShapeDtypeStruct(jnp.shape(w)[1:], jnp.result_type(w))
        kernel = lift.lift(self.kernel, one, what="kernel")
        potential = None if self.potential is None else lift.lift(self.potential, one, what="potential")
        return InteractionEnergy(kernel, potential)


class UniformLaw(eqx.Module):
    """The uniform law on an interval.

    Args:
        lower: where it begins.
        upper: where it ends, above ``lower``.

    Raises:
        ValueError: the interval is empty.
    """

    lower: Any = eqx.field(converter=lambda v: parameter("lower", v))
    upper: Any = eqx.field(converter=lambda v: parameter("upper", v))

    def __check_init__(self):
        if known(self.lower, self.upper) and not self.lower < self.upper:
            raise ValueError(f"lower must be below upper, got {self.lower} and {self.upper}")

    def mean_distance(self, x: Array) -> Array:
        r"""$\mathbb E|x - Y|$ for each entry of ``x``."""
        length = self.upper - self.lower
        beyond = jnp.abs(x - (self.lower + self.upper) / 2)
        within = ((x - self.lower) ** 2 + (self.upper - x) ** 2) / (2 * length)
        return jnp.where((x < self.lower) | (x > self.upper), beyond, within)


class EnergyDistance(eqx.Module):
    r"""$2\,\mathbb E|X - Y| - \mathbb E|X - X'| - \mathbb E|Y - Y'|$ between particles $X$ and a target $Y$.

    Zero exactly where the two measures are equal. On the line it is displacement convex, and evaluated by
    sorting in $O((n + m)\log(n + m))$; in more dimensions it is neither, and all pairs are summed. Where
    particles coincide with each other or with points of the target, derivatives take the subgradient
    with $\mathrm{sign}(0) = 0$; particles that coincide then never separate.

    Args:
        target: points of a sample, shape (m,) or (m, d) as the particles are, or a `UniformLaw` law.

    Source:
        Székely, Rizzo 2013, Energy statistics: a class of statistics based on distances; Carrillo, Di
        Francesco, Esposito, Fagioli, Schmidtchen 2020, Measure solutions to a system of continuity equations
        driven by Newtonian nonlocal interactions (the line).

    Example:
        The cells' midpoints are the best $n$ particles for a uniform law, at $1/(3n^2)$:

        >>> midpoints = jnp.array([-0.75, -0.25, 0.25, 0.75])
        >>> f = EnergyDistance(UniformLaw(-1.0, 1.0))
        >>> bool(jnp.isclose(f(midpoints), 1 / 48)), jax.grad(f)(midpoints).tolist()
        (True, [0.0, 0.0, 0.0, 0.0])
    """

    target: Float[Array, "m *d"] | UniformLaw = eqx.field(
        converter=lambda v: v if isinstance(v, UniformLaw) else floating(v)
    )

    def __check_init__(self):
        if not isinstance(self.target, UniformLaw) and (
            self.target.ndim not in (1, 2) or 0 in self.target.shape
        ):
            raise ValueError(
                f"target must be a UniformLaw or points, (m,) or (m, d), got shape {self.target.shape}"
            )

    def __call__(self, w: Float[Array, "n *d"]) -> Scalar:
        if isinstance(self.target, UniformLaw):
            if math.prod(w.shape) != w.shape[0]:
                raise ValueError(f"a UniformLaw is on the line; particles have shape {w.shape}, not (n,)")
            across, within = (
                jnp.mean(self.target.mean_distance(w)),
                (self.target.upper - self.target.lower) / 3,
            )
        else:
            if self.target.shape[1:] != w.shape[1:]:
                raise ValueError(f"particles have shape {w.shape}, the target's points {self.target.shape}")
            across, within = mean_distance(w, self.target), mean_distance(self.target, self.target)
        return 2 * across - mean_distance(w, w) - within


def mean_distance(x: Float[Array, "n *d"], y: Float[Array, "m *d"]) -> Scalar:
    r"""$\frac1{nm}\sum_{ij}\|x_i - y_j\|$; on the line by sorting.

    Example:
        >>> float(mean_distance(jnp.array([0.0, 1.0]), jnp.array([3.0])))
        2.5
    """
    if math.prod(x.shape[1:]) > 1:
        return jnp.mean(norm(x[:, None] - y[None], axis=-1))
    x, y = x.ravel(), y.ravel()
    # The sum is linear in both with coefficients that count signs, its subgradient where signs are zero too.
    return jnp.mean(_mean_sign(x, y) * x) + jnp.mean(_mean_sign(y, x) * y)


def _mean_sign(x: Array, y: Array) -> Array:
    """The mean over ``y`` of ``sign(x_i - y_j)``, for each entry of ``x``."""
    x, y = jax.lax.stop_gradient((x, jnp.sort(y)))
    below, not_above = (jnp.searchsorted(y, x, side=side) for side in ("left", "right"))
    return (below + not_above - y.size).astype(x.dtype) / y.size


class SquaredWasserstein(eqx.Module):
    r"""$\tfrac12 W_2^2$ between the particles and as many points, by exact matching.

    Its velocities are $w_i - y_{\sigma(i)}$ with $\sigma$ the optimal matching: particles go straight to the
    points. Star displacement convex with modulus one.

    Args:
        target: the points, shape (n, d).

    Example:
        >>> f = SquaredWasserstein(jnp.array([[0.0, 0.0], [1.0, 0.0]]))
        >>> float(f(jnp.array([[1.0, 2.0], [0.0, 0.0]])))  # (4 + 0) / 2 / 2
        1.0
    """

    target: Float[Array, "n d"] = eqx.field(converter=floating)

    def __call__(self, w: Float[Array, "n d"]) -> Scalar:
        if w.shape != self.target.shape:
            raise ValueError(f"there are {self.target.shape} points, (n, d), and {w.shape} particles")
        return 0.5 * jnp.sum((w - self.target[matching(w, self.target)]) ** 2) / w.shape[0]


class ZeroOneNetwork(eqx.Module):
    r"""The loss of a two-layer network of units $1[\langle w_i, x\rangle > 0]$ with inputs in the plane.

    $$F(w) = \mathbb E_x\Bigl(\frac1n\sum_i 1[\langle w_i, x\rangle > 0]
        - \frac1m\sum_j 1[\langle v_j, x\rangle > 0]\Bigr)^2$$

    for inputs whose direction is uniform, such as Gaussian ones. The units have no useful derivative; the
    expectation does: two units disagree with probability (their angle) / $\pi$. Only directions matter.

    Args:
        teacher: the units $v_j$ to be learnt, shape (m, 2).

    Source:
        Daneshmand, Lee, Jin 2023, Efficient displacement convex optimization with particle gradient descent,
        ICML, arXiv 2302.04753, on networks with inputs in the plane.

    Example:
        >>> f = ZeroOneNetwork(jnp.array([[1.0, 0.0]]))
        >>> [round(float(f(jnp.array([w]))), 4) for w in ([2.0, 0.0], [0.0, 1.0], [-1.0, 0.0])]
        [0.0, 0.5, 1.0]
    """

    teacher: Float[Array, "m 2"] = eqx.field(converter=floating)

    def __check_init__(self):
        if self.teacher.ndim != 2 or self.teacher.shape[1] != 2:
            raise ValueError(f"teacher must have shape (m, 2), got {self.teacher.shape}")

    def __call__(self, w: Float[Array, "n 2"]) -> Scalar:
        if w.ndim != 2 or w.shape[1] != 2:
            raise ValueError(f"units with inputs in the plane have shape (n, 2), got {w.shape}")
        v = self.teacher
        return (2 * _mean_angle(w, v) - _mean_angle(w, w) - _mean_angle(v, v)) / (2 * jnp.pi)


def _mean_angle(a: Array, b: Array) -> Scalar:
    cross = a[:, None, 0] * b[None, :, 1] - a[:, None, 1] * b[None, :, 0]
    return jnp.mean(jnp.arctan2(modulus(cross), a @ b.T))
