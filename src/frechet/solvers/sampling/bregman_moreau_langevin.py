"""Langevin Monte Carlo in a Bregman geometry, with the nonsmooth part by its Bregman-Moreau envelope."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray, PyTree

from frechet.convex.hypentropy import Hypentropy
from frechet.convex.legendre import Legendre
from frechet.core import tree
from frechet.problems.density import Density
from frechet.solvers.sampling.langevin import EnvelopeSampler, positive_or_none
from frechet.solvers.sampling.mirrored import relative
from frechet.solvers.sampling.sampler import Sampler


class BregmanMoreauLangevin(EnvelopeSampler):
    r"""Bregman-Moreau Langevin algorithms for $e^{-f-g}$, with $f$ smooth relative to a geometry.

    With $U_\lambda = f + g_\lambda$, where $g_\lambda$ is the left or right Bregman-Moreau envelope of $g$
    in the geometry $\psi$, the mirror form (BMUMLA: LBMUMLA, RBMUMLA) steps in the dual coordinates of
    $\varphi$,

    $$\nabla\varphi(x_{k+1}) = \nabla\varphi(x_k) - \gamma\nabla U_\lambda(x_k)
      + \sqrt{2\gamma}\,\nabla^2\varphi(x_k)^{1/2}\xi_k,$$

    and the mirrorless form (BMMMLA) is the Euler step of the same diffusion in primal coordinates, with its
    Itô drift,

    $$x_{k+1} = x_k - \gamma H^{-1}\nabla U_\lambda(x_k) + \gamma\,\mathrm{div}\,H^{-1}
      + \sqrt{2\gamma}\,H^{-1/2}\xi_k, \quad H = \nabla^2\varphi(x_k).$$

    A Euclidean $\varphi$ gives LBMULA and RBMULA, Euclidean $\varphi$ and $\psi$ MYULA, and $g = 0$ mirror
    Langevin Monte Carlo. A move costs a gradient of $f$ and a Bregman proximal map of $g$. It is unadjusted:
    its bias comes from $\gamma$ and from $\lambda$, and for a general geometry the known bound of the former
    does not vanish with $\gamma$. Stability asks for about $\gamma \le 2/(L_f + 1/\lambda)$, in the metric of
    $\varphi$.

    Args:
        mirror: $\varphi$.
        envelope: $\psi$; the same when left out.
        step_size: $\gamma$; None takes a fifth of $1/(L + 1/\lambda)$.
        smoothing: $\lambda$; None takes $1/L$, with the largest curvature of $f$ relative to $\varphi$ where
            a chain starts for $L$, or that of 1 where $f$ is flat: name it there.
        right: whether the envelope is the right one.
        mirrorless: whether steps are made in primal coordinates.

    Source: Lau, Liu 2022, Bregman proximal Langevin Monte Carlo via Bregman-Moreau envelopes,
    arXiv 2207.04387; mirror Langevin: Zhang, Peyré, Fadili, Pereyra 2020, Wasserstein control of mirror
    Langevin Monte Carlo, arXiv 2002.04363.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> laplace = fr.Density(lambda x: 0.0 * jnp.sum(x), fr.convex.L1(1.0))
        >>> chains = laplace.chains(jnp.zeros(1), 500)
        >>> x = fr.solve(laplace, chains, BregmanMoreauLangevin(None, None, 0.05, 0.05), max_steps=400).x
        >>> 0.9 < float(jnp.mean(jnp.abs(x.position))) < 1.2
        True
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "prox", "separable"})

    mirror: Legendre = eqx.field(default_factory=Hypentropy)
    envelope: Legendre | None = None
    right: bool = eqx.field(default=False, static=True)
    mirrorless: bool = eqx.field(default=False, static=True)

    def __init__(
        self,
        mirror: Legendre | None = None,
        envelope: Legendre | None = None,
        step_size: Any = None,
        smoothing: Any = None,
        *,
        right: bool = False,
        mirrorless: bool = False,
    ):
        self.mirror = Hypentropy() if mirror is None else mirror
        self.envelope = envelope
        self.step_size, self.smoothing = positive_or_none(step_size), positive_or_none(smoothing)
        self.right, self.mirrorless = right, mirrorless

    @classmethod
    def presets(cls) -> dict[str, Sampler]:
        return {
            "BregmanMoreauLangevin": cls(),
            "BregmanMoreauLangevin(mirrorless, right)": cls(right=True, mirrorless=True),
        }

    def begin(
        self, problem: Density, position: PyTree[Array], curvature: Any
    ) -> tuple[PyTree[Array], dict[str, Any]]:
        return relative(curvature, self.mirror, position), {}

    def slope(
        self, problem: Density, x: PyTree[Array], curvature: Any
    ) -> tuple[PyTree[Array], dict[str, int]]:
        gradient = problem.gradient(x)
        if "smooth" in problem.offers():
            return gradient, {"gradient": 1}
        of = problem.right_envelope_gradient if self.right else problem.left_envelope_gradient
        geometry = self.mirror if self.envelope is None else self.envelope
        envelope = of(geometry, x, self.smoothing_at(curvature))
        return tree.axpy(1, envelope, gradient), {"gradient": 1, "prox": 1}

    def move(
        self, problem: Density, position: PyTree[Array], memory: PyTree[Array], key: PRNGKeyArray
    ) -> tuple[PyTree[Array], PyTree[Array], dict[str, Any]]:
        x, step = position, self.step_at(memory)
        gradient, cost = self.slope(problem, x, memory)
        noise = optax.tree.random_like(key, x)
        curvature, scale = self.mirror.curvature(x), jnp.sqrt(2 * step)
        if not self.mirrorless:
            dual = tree.axpy(-step, gradient, self.mirror.mirror(x))
            moved = jax.tree.map(lambda y, h, xi: y + scale * jnp.sqrt(h) * xi, dual, curvature, noise)
            return _like(self.mirror.inverse(moved), x), memory, cost
        # The divergence of the inverse metric, one coordinate's derivative each.
        inverse = lambda x: jax.tree.map(lambda h: 1 / h, self.mirror.curvature(x))  # noqa: E731
        drift = jax.jvp(inverse, (x,), (jax.tree.map(jnp.ones_like, x),))[1]
        moved = jax.tree.map(
            lambda x, h, u, d, xi: x - step * (u / h - d) + scale / jnp.sqrt(h) * xi,
            *(x, curvature, gradient, drift, noise),
        )
        return _like(moved, x), memory, cost


def _like(moved: PyTree[Array], x: PyTree[Array]) -> PyTree[Array]:
    return jax.tree.map(lambda v, u: v.astype(u.dtype), moved, x)
