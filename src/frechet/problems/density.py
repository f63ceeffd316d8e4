"""A probability density to draw from, and the chains that do."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree, Scalar

from frechet.convex.function import Function
from frechet.convex.legendre import Legendre
from frechet.convex.zero import Zero
from frechet.core import lift, tree
from frechet.core.problem import Problem
from frechet.problems.composite import Composite
from frechet.problems.smooth_part import SmoothPart


class Moments(eqx.Module):
    """Means and variances of a density's coordinates.

    Attributes:
        mean: a pytree of the form of a point.
        variance: likewise, above zero.
    """

    mean: PyTree[Array]
    variance: PyTree[Array]


class Chains(eqx.Module):
    r"""Markov chains, side by side, and what each has averaged so far.

    Draws are weighed by $k^3$ for the $k$-th, so that a start far from the density's bulk is forgotten
    without a warm-up of known length.

    Attributes:
        position: where the chains are, a pytree of arrays with a leading axis for chains.
        mean: each chain's mean of its draws, likewise.
        square: each chain's mean squared deviation from that.
        count: how many draws were averaged, a float of shape ().
    """

    position: PyTree[Array]
    mean: PyTree[Array]
    square: PyTree[Array]
    count: Float[Array, ""]

    @staticmethod
    def at(position: PyTree[Array]) -> "Chains":
        """Chains that have yet to move."""
        zero = jax.tree.map(jnp.zeros_like, position)
        return Chains(position, zero, zero, jnp.zeros((), jnp.result_type(*jax.tree.leaves(position))))

    @property
    def size(self) -> int:
        """How many chains there are."""
        return jax.tree.leaves(self.position)[0].shape[0]

    def moved(self, position: PyTree[Array]) -> "Chains":
        """The chains at their next draw."""
        count = self.count + 1
        share = 4 / (count + 3)

        def average(old: Array, new: Array) -> Array:
            return (old + share * (new - old)).astype(old.dtype)

        mean = jax.tree.map(average, self.mean, position)
        deviation = jax.tree.map(lambda x, m, n: (x - m) * (x - n), position, self.mean, mean)
        return Chains(position, mean, jax.tree.map(average, self.square, deviation), count)

    def moments(self) -> Moments:
        """Over all chains together."""
        mean = jax.tree.map(lambda m: jnp.mean(m, 0), self.mean)
        within = jax.tree.map(lambda s, m: jnp.mean(s, 0) + jnp.var(m, 0), self.square, self.mean)
        return Moments(mean, within)

    def effective_sample_size(self) -> PyTree[Array]:
        r"""Independent draws that would estimate the means as well, a number a coordinate.

        It is $m \hat\sigma^2 / \mathrm{Var}(\bar x)$ with $\bar x$ the means of the $m$ chains, at least two:
        from between chains, so slow mixing within them cannot hide.
        """
        return jax.tree.map(
            lambda v, m: v * m.shape[0] / jnp.maximum(_variance(m), jnp.finfo(m.dtype).tiny),
            self.moments().variance,
            self.mean,
        )

    def r_hat(self) -> PyTree[Array]:
        r"""Potential scale reduction $\sqrt{\hat\sigma^2 / W}$, a number a coordinate; 1 where chains agree.

        Source: Gelman, Rubin 1992, Inference from iterative simulation using multiple sequences.
        """
        return jax.tree.map(
            lambda v, s: jnp.sqrt(v / jnp.maximum(jnp.mean(s, 0), jnp.finfo(s.dtype).tiny)),
            self.moments().variance,
            self.square,
        )


def _variance(means: Array) -> Array:
    return jnp.sum((means - jnp.mean(means, 0)) ** 2, 0) / max(means.shape[0] - 1, 1)


class Density(SmoothPart, Problem):
    r"""The probability density proportional to $e^{-f(x) - g(x)}$, with $f$ smooth and $g$ proximable.

    There is no test by which a point could be told to be a solution, so there is no optimality map: samplers
    move `Chains` until their steps are spent, and runs and comparisons watch ``measures``: effective sample
    size, the chains' agreement (R-hat) and, where moments are known, the errors of the estimated ones, which
    are the bias of a sampler that corrects none, and the noise of all.

    The objective is the root mean square, over coordinates, of the errors of means and standard deviations
    in units of the true standard deviation; where moments are not known, the largest R-hat less one.

    Args:
        f: the smooth part of the potential, a callable from a point (a pytree) to a scalar.
        g: the nonsmooth part; the indicator of a set truncates the density.
        moments: the true means and variances, where they are known.

    Raises:
        TypeError: ``f`` is not callable or ``g`` is no `frechet.convex.Function`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import frechet as fr
        >>> density = fr.Density(lambda x: 0.5 * jnp.sum(x**2), fr.convex.L1(1.0))
        >>> chains = density.chains(jnp.zeros(2), 4)
        >>> chains.position.shape
        (4, 2)
    """

    f: Callable[[PyTree[Array]], Scalar]
    g: Function = eqx.field(default_factory=Zero)
    moments: Moments | None = None

    def __check_init__(self):
        if not callable(self.f):
            raise TypeError(f"f must be callable, got {type(self.f).__name__}")
        if self.moments is not None and not isinstance(self.moments, Moments):
            raise TypeError(f"moments must be Moments(mean, variance), got {type(self.moments).__name__}")

    # The oracles besides those of f and g alone.

    def potential(self, x: PyTree[Array]) -> Scalar:
        """Minus the log density at a point, but for a constant: $f(x) + g(x)$."""
        return SmoothPart.value(self, x) + self.g(x)

    def potential_and_gradient(self, x: PyTree[Array]) -> tuple[Scalar, PyTree[Array]]:
        r"""$f(x) + g(x)$ and $\nabla f(x)$, for one evaluation of each."""
        value, gradient = SmoothPart.value_and_gradient(self, x)
        return value + self.g(x), gradient

    def left_envelope_gradient(self, geometry: Legendre, x: PyTree[Array], step: Any) -> PyTree[Array]:
        """Gradient of the left Bregman-Moreau envelope of ``g``; where ``g`` is separable."""
        return geometry.left_envelope_gradient(self.g, x, step)

    def right_envelope_gradient(self, geometry: Legendre, x: PyTree[Array], step: Any) -> PyTree[Array]:
        """Gradient of the right Bregman-Moreau envelope of ``g``; where ``g`` is separable."""
        return geometry.right_envelope_gradient(self.g, x, step)

    def chains(self, position: PyTree[Array], count: int) -> Chains:
        """``count`` chains that all start at one point."""
        if count < 1:
            raise ValueError(f"there must be at least one chain, got {count}")
        position = jax.tree.map(jnp.asarray, position)
        return Chains.at(jax.tree.map(lambda v: jnp.broadcast_to(v, (count, *v.shape)), position))

    def mode(self) -> Composite:
        """The problem whose solution is the density's mode."""
        return Composite(self.f, self.g)

    # What it is measured by.

    @property
    def objective_name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What reports call the objective."""
        return "R-hat less one" if self.moments is None else "error of moments"

    def objective(self, x: Chains) -> Scalar:
        if self.moments is None:
            worst = tree.largest(jax.tree.map(lambda r: r - 1, x.r_hat()))
            return jnp.where(x.count > 1, worst, jnp.inf)
        mean, deviation = self._errors(x)
        squares = tree.norm((mean, deviation)) ** 2
        return jnp.sqrt(squares / sum(v.size for v in jax.tree.leaves(mean)))

    def measures(self, x: Chains) -> dict[str, Scalar]:
        size = [jnp.min(v) for v in jax.tree.leaves(x.effective_sample_size())]
        measured = {
            "effective_sample_size": jnp.where(x.count > 1, jnp.min(jnp.stack(size)), 0),
            "r_hat": jnp.where(x.count > 1, tree.largest(x.r_hat()), jnp.inf),
        }
        if self.moments is not None:
            mean, deviation = self._errors(x)
            measured["mean_error"], measured["deviation_error"] = tree.largest(mean), tree.largest(deviation)
        return measured

    def _errors(self, x: Chains) -> tuple[PyTree[Array], PyTree[Array]]:
        """Of means and of standard deviations, in units of the true deviation."""
        assert self.moments is not None
        found, true = x.moments(), self.moments
        mean = jax.tree.map(
            lambda m, t, v: (m - t) / jnp.sqrt(v).astype(m.dtype), found.mean, true.mean, true.variance
        )
        deviation = jax.tree.map(
            lambda w, v: jnp.sqrt(w / v).astype(w.dtype) - 1, found.variance, true.variance
        )
        return mean, deviation

    def offers(self) -> dict[str, str]:
        offered = {
            "value": "f(x)",
            "gradient": "the gradient of f",
            "hvp": "Hessian-vector products of f",
            "potential": "minus the log density",
        }
        return offered | self.g.oracles()

    def default_solver(self) -> str:
        if self.g.smooth:
            return "frechet.solvers.sampling.mala:MALA"
        return "frechet.solvers.sampling.myula:MYMALA"

    def start(self, x0: Any) -> Chains:
        return x0 if isinstance(x0, Chains) else Chains.at(x0)

    def lifted(self, x: Any) -> "Density":
        position = x.position if isinstance(x, Chains) else x
        chains = {v.shape[:1] for v in jax.tree.leaves(position)}
        if len(chains) != 1 or () in chains:
            raise ValueError(
                "x0 must be chains, a pytree of arrays whose leading axis runs over them; for several chains "
                "from one point pass problem.chains(point, count)"
            )
        f = lift.lift(self.f, jax.tree.map(lambda v: v[0], position), what="potential")
        return self if f is self.f else lift.replaced(self, f=f)

    def sound(self) -> Bool[Array, ""]:
        return tree.all_finite((self.f, self.moments)) & tree.no_nan(self.g)
