"""A map from one measure to another, learned from samples of both."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, Scalar

from frechet.convex.parameters import floating, parameter
from frechet.metrics.monge_gap import monge_gap
from frechet.metrics.sinkhorn_divergence import sinkhorn_divergence
from frechet.problems.batched import mean_over_batches
from frechet.problems.training import Target, Training
from frechet.solvers.transport.sinkhorn import Sinkhorn
from frechet.transport.cost_functions import SquaredEuclidean
from frechet.transport.point_cloud import PointCloud

_SCALE_FROM = 1024
"""Points of either sample from which the scale of costs is taken."""


class TransportMap(Training):
    r"""Learn a map $T_\theta$ that carries $\mu$ to $\nu$ at least cost, from samples $x$ and $y$ of them.

    $$\min_\theta\; \Delta(T_{\theta\#}\mu, \nu) + \lambda\, M(T_\theta),$$

    over batches of both, drawn independently. The fit $\Delta$ is the Sinkhorn divergence; $M$ is the Monge
    gap, `frechet.metrics.monge_gap`, which is zero where $T_\theta$ is optimal for the cost. So the model
    may be any network: one that is optimal by design, such as the gradient of a `frechet.models.ICNN`, does
    without the gap, for the squared distance only.

    ``x`` are the inexact arrays of the model: `parameters` at the start, of which `map` makes a model again.
    It is a `Training`, with no test for being solved: its measures are ``divergence`` and ``monge_gap`` on
    ``held_out`` samples and, where the right images are known, ``map_error``: the mean squared distance to
    them over their variance.

    Args:
        model: a module that takes a point, shape (d,), to a point.
        x: sample of $\mu$, shape (n, d).
        y: sample of $\nu$, shape (m, d); $nm < 2^{31}$.
        cost: of moving a point to another, as in `frechet.transport`.
        gap_weight: $\lambda$; None for a loss without the gap.
        fit: ``fit(model, x, y)``, a scalar, in place of the Sinkhorn divergence.
        epsilon: strength of the entropic regularisation, in units of the mean cost: between ``x`` and ``y``
            for the gap, within ``y`` for the divergence.
        debiased: as of `frechet.metrics.monge_gap`; False for a cost that is not symmetric.
        tol: error of marginals up to which each entropic problem is solved in training.
        batch_size: points of either sample a batch; all of them when left out.
        objective_size: how many of the points, from the first on, the objective is taken over.
        held_out: two samples that are not trained on, and the right images of the first where known: a
            triple or a pair.
        target: when the map counts as learned.
        initial: ``initial(key)``, a model drawn anew; comparisons draw one for every seed.

    Raises:
        ValueError: samples are no matrices of points in one space, a batch is larger than a sample, or there
            are too many pairs.

    Source: Uscidda, Cuturi 2023, The Monge gap: a regularizer to learn all transport maps, arXiv 2302.04953.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, optax
        >>> import frechet as fr
        >>> x = jax.random.normal(jax.random.key(0), (64, 2))
        >>> problem = fr.TransportMap(fr.models.AffineMap(jnp.eye(2)), x, 2 * x + 1)
        >>> solution = fr.solve(
        ...     problem, problem.parameters, fr.solvers.Optax(optax.adam(0.1)), max_steps=60
        ... )
        >>> problem.map(solution.x)(jnp.zeros(2)).round(1).tolist()
        [1.0, 1.0]
    """

    def __init__(
        self,
        model: eqx.Module,
        x: Float[Array, "n d"],
        y: Float[Array, "m d"],
        *,
        cost: Callable[[Array, Array], Scalar] = SquaredEuclidean(),
        gap_weight: Any = 1.0,
        fit: Callable[[Any, Array, Array], Scalar] | None = None,
        epsilon: Any = 0.05,
        debiased: bool = True,
        tol: float = 1e-3,
        batch_size: int | None = None,
        objective_size: int | None = None,
        held_out: tuple[Array, ...] | None = None,
        target: Target | None = None,
        initial: Callable[[PRNGKeyArray], eqx.Module] | None = None,
    ):
        clouds = PointCloud(x, y)
        n, m = clouds.shape
        if n * m >= 2**31:
            raise ValueError(f"{n} and {m} points are too many pairs, 2^31 or more; take a part of them")
        terms = _Terms.of(clouds, cost, epsilon, debiased)
        gap_weight = None if gap_weight is None else parameter("gap_weight", gap_weight, least=0.0)
        super().__init__(
            _Loss(model, terms, fit, gap_weight, parameter("tol", tol, positive=True)),
            # Of the shorter length for the checks, which are about batches of both.
            (clouds.x[:m], clouds.y[:n]),
            batch_size=batch_size,
            objective_size=objective_size,
            held_out=None if held_out is None else tuple(floating(v) for v in held_out),
            measure=None if held_out is None else _Measures(model, terms),
            target=target,
            initial=None if initial is None else _Drawn(initial),
        )
        self.data = clouds.x, clouds.y

    @property
    def model(self) -> eqx.Module:
        """The model as it was given."""
        return self.loss.model  # pyright: ignore[reportFunctionMemberAccess]

    def map(self, x: PyTree[Array]) -> Any:
        """The model with parameters ``x``."""
        return eqx.combine(x, self.model)

    @property
    def parameters(self) -> PyTree[Array]:
        """Those of the model as it was given: where to start."""
        return eqx.filter(self.model, eqx.is_inexact_array)

    @property
    def count(self) -> int:
        """How many pairs of points there are."""
        return len(self.data[0]) * len(self.data[1])

    def batch(self, indices: Int[Array, " batch"] | None) -> PyTree[Array]:
        """Points of either sample: a uniform pair is two independent uniform draws."""
        if indices is None:
            return self.data
        x, y = self.data
        return x[indices // len(y)], y[indices % len(y)]

    def objective(self, x: PyTree[Array]) -> Scalar:
        if self.batch_size is None:
            return self._loss(x, self.data)
        of_batch = lambda batch: self._loss(x, batch)  # noqa: E731
        return mean_over_batches(of_batch, self.data, self.objective_size, self.batch_size)


class _Terms(eqx.Module):
    """The divergence and the gap, each with a strength that training does not change."""

    cost: Callable[[Array, Array], Scalar]
    of_fit: Array
    of_gap: Array
    debiased: bool = eqx.field(static=True)

    @classmethod
    def of(cls, clouds: PointCloud, cost: Callable, epsilon: Any, debiased: bool) -> "_Terms":
        x, y = clouds.x[:_SCALE_FROM], clouds.y[:_SCALE_FROM]
        strength = parameter("epsilon", epsilon, positive=True)
        of_fit, of_gap = PointCloud(y).mean(), PointCloud(x, y, cost).mean()
        return cls(cost, strength * of_fit, strength * of_gap, debiased)

    def divergence(self, images: Array, y: Array, **how: Any) -> Scalar:
        # Of the solvers the quickest to compile, and fast at strengths such as these.
        how |= {"solver": Sinkhorn()}
        return sinkhorn_divergence(images, y, epsilon=self.of_fit, relative=False, **how)

    def gap(self, x: Array, images: Array, **how: Any) -> Scalar:
        how |= {"cost": self.cost, "epsilon": self.of_gap, "relative": False, "debiased": self.debiased}
        how |= {"solver": Sinkhorn()}
        return monge_gap(x, images, **how)


class _Loss(eqx.Module):
    """The training loss of parameters that take the place of the model's own."""

    model: Any
    terms: _Terms
    fit: Callable[[Any, Array, Array], Scalar] | None
    gap_weight: Any
    tol: Any

    def __call__(self, parameters: PyTree[Array], batch: tuple[Array, Array]) -> Scalar:
        model, (x, y) = eqx.combine(parameters, self.model), batch
        images = jax.vmap(model)(x)
        fit = self.terms.divergence(images, y, tol=self.tol) if self.fit is None else self.fit(model, x, y)
        if self.gap_weight is None:
            return fit
        return fit + self.gap_weight * self.terms.gap(x, images, tol=self.tol)


class _Measures(eqx.Module):
    """What a map does to points that it was not trained on."""

    model: Any
    terms: _Terms

    def __call__(self, parameters: PyTree[Array], held_out: tuple[Array, ...]) -> dict[str, Scalar]:
        source, target, *right = held_out
        images = jax.vmap(eqx.combine(parameters, self.model))(source)
        found = {
            "divergence": self.terms.divergence(images, target),
            "monge_gap": self.terms.gap(source, images),
        }
        if right:
            spread = jnp.sum(jnp.var(right[0], axis=0))
            found["map_error"] = jnp.mean(jnp.sum((images - right[0]) ** 2, axis=1)) / spread
        return found


class _Drawn(eqx.Module):
    """The parameters of models that are drawn."""

    draw: Callable[[PRNGKeyArray], eqx.Module] = eqx.field(static=True)

    def __call__(self, key: PRNGKeyArray) -> PyTree[Array]:
        return eqx.filter(self.draw(key), eqx.is_inexact_array)
