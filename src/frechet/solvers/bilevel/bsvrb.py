"""BSVRB: blocks of lower problems and terms of each are sampled, all estimates variance-reduced."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, Scalar

from frechet.convex.parameters import known
from frechet.core import tree
from frechet.core.calls import Calls
from frechet.core.solver import Solver, State
from frechet.problems.bilevel import BilevelPoint
from frechet.problems.multi_block import MultiBlockBilevel
from frechet.solvers.bilevel.lower_step import lower_step, step_or_none
from frechet.solvers.bilevel.msvr import gain, msvr, rows, storm
from frechet.solvers.bilevel.second_order_tracking import Adjoints, Hessians
from frechet.solvers.stochastic.sampling import check_batch_size


class BSVRBState(State):
    """The point and what is tracked, both also of the step before, the estimates and the lower step.

    ``held`` are adjoint variables or Hessians, ``memory`` what their update keeps, ``slopes`` estimates of
    the lower gradients and ``direction`` that of the hypergradient.
    """

    before: tuple[PyTree[Array], PyTree[Array], PyTree[Array]]
    held: PyTree[Array]
    memory: PyTree[Array]
    slopes: PyTree[Array]
    direction: PyTree[Array]
    rate: Scalar


class BSVRB(Solver):
    r"""Blockwise stochastic variance-reduced bilevel method.

    A step draws $I$ of the $m$ blocks and a batch of terms of each at both levels, and evaluates the samples
    at the current point and, the same ones, at that of the step before. Estimates $s_i$ of
    $\nabla_y g_i(x, y_i)$ follow by MSVR (see `msvr`), the hypergradient $z$ by STORM from the samples

    $$\frac1I\sum_{i\text{ drawn}}\nabla_x f_i(x, y_i) - \nabla^2_{xy} g_i(x, y_i)\,v_i,$$

    and then $y_i \leftarrow y_i - \tau s_i$ of all blocks, drawn or not, and
    $x \leftarrow \mathrm{prox}_{\eta p}(x - \eta z)$. By default (version 2 of the paper) $v_i$ is a variable
    that moves along an MSVR estimate of $\nabla^2_{yy} g_i\,v_i - \nabla_y f_i$; with `Hessians` (version 1)
    $v_i = H_i^{-1}\nabla_y f_i$, with $H_i$ an MSVR estimate of $\nabla^2_{yy} g_i$.

    $O(\epsilon^{-3})$ steps lead to $\|\nabla\Phi\| \le \epsilon$, fewer in proportion to $I$ and to the
    square root of the batch size. Estimates begin exact: ``init`` takes one gradient of each level. A step
    costs $2IB$ gradients of terms at each level and as many second-order products (with `Hessians` as many
    more for each unknown of a block), and a prox.

    Args:
        blocks: $I$, blocks drawn a step without replacement; all where there are no more or when None.
        batch_size: $B$, terms drawn of each at either level, with replacement; all when None.
        momentum: $a$ of the estimates of blocks, below 1 unless all are drawn.
        outer_momentum: $b$ of the hypergradient's.
        gain: $\gamma$ of the estimates of blocks; left out, $(m - I) / (I(1-a)) + 1 - a$.
        lower_step: $\tau$, also of $v$; left out, a half over $L\max(\gamma, 1)$ with $L$ the largest
            eigenvalue of a lower Hessian, estimated at the start; without the half if nothing is sampled.
        outer_step: $\eta$.
        tracking: `Adjoints` or `Hessians`.

    Source:
        Hu, Qiu, Guo, Zhang, Yang 2023, Blockwise stochastic variance-reduced methods with parallel speedup
        for multi-block bilevel optimization, arXiv 2305.18730.

    Example:
        >>> import jax.numpy as jnp
        >>> import frechet as fr
        >>> ridge = lambda x, y, d: 0.5 * (y - d) ** 2 + 0.5 * x**2 * y**2
        >>> train, valid = jnp.array([[2.0, 4.0], [5.0, 7.0]]), jnp.array([[1.5], [3.0]])
        >>> problem = fr.MultiBlockBilevel(lambda x, y, d: 0.5 * (y - d) ** 2, ridge, valid, train)
        >>> solution = fr.solve(problem, (jnp.array(0.5), jnp.zeros(2)), BSVRB(blocks=1), max_steps=4000)
        >>> bool(abs(solution.x.upper - 1.0) < 0.1)
        True
    """

    accepts: ClassVar[type] = MultiBlockBilevel
    needs: ClassVar[frozenset[str]] = frozenset({"blocks", "smooth lower level"})
    check_every: ClassVar[int] = 50
    blocks: int | None = eqx.field(default=4, static=True)
    batch_size: int | None = eqx.field(default=8, static=True)
    momentum: float | Scalar = 0.1
    outer_momentum: float | Scalar = 0.1
    gain: float | Scalar | None = None
    lower_step: float | Scalar | None = eqx.field(default=None, converter=step_or_none)
    outer_step: float | Scalar = 0.02
    tracking: Adjoints | Hessians = eqx.field(default_factory=Adjoints)

    def __check_init__(self):
        if self.batch_size is not None:
            check_batch_size(self.batch_size)
        if self.blocks is not None and (not isinstance(self.blocks, int) or self.blocks < 1):
            raise ValueError(f"blocks must be a positive integer or None, got {self.blocks!r}")
        if self.blocks and self.gain is None and known(self.momentum) and np.any(self.momentum >= 1):
            raise ValueError(f"momentum must be below 1 where blocks are drawn, got {self.momentum:g}")

    @property
    def stochastic(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.blocks is not None or self.batch_size is not None

    @property
    def converges(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return not self.stochastic

    @classmethod
    def presets(cls) -> dict[str, Solver]:
        return {"BSVRB": cls(), "BSVRBHessians": cls(tracking=Hessians())}

    def init(self, problem: MultiBlockBilevel, x0: BilevelPoint, *, key: PRNGKeyArray) -> BSVRBState:
        (x, y, *_), m = x0, problem.blocks
        full, calls = lower_step(problem, x, y, self.lower_step, Calls())
        if self.lower_step is None:
            full = full * (0.5 if self.stochastic else 1.0) / jnp.maximum(self._gain(m), 1.0)
        f_x, f_y = problem.outer_gradients(x, y)
        f_y = jax.tree.map(lambda v: m * v, f_y)
        held, memory, crossed, calls = self.tracking.init(problem, x, y, f_y, calls)
        return BSVRBState(
            x0,
            calls.add(gradient=1, outer_gradient=1),
            (x, y, held),
            held,
            memory,
            problem.inner_gradient(x, y),
            tree.axpy(-1 / m, crossed, f_x),
            full.astype(tree.norm(x).dtype),
        )

    def step(self, problem: MultiBlockBilevel, state: BSVRBState, *, key: PRNGKeyArray) -> BSVRBState:
        x, y, *_ = state.x
        blocks, outer, inner = self._draw(problem, key)

        def sampled(x: PyTree[Array], y: PyTree[Array], held: PyTree[Array]) -> tuple:
            slopes = problem.block_gradients(x, y, blocks, inner)
            f_x, f_y = problem.block_outer_gradients(x, y, blocks, outer)
            crossed, fresh = self.tracking.sampled(problem, x, y, held, f_y, blocks, inner)
            mean = lambda u, v: jnp.mean(u - v, axis=0)  # noqa: E731
            return slopes, fresh, jax.tree.map(mean, f_x, crossed)

        drawn = [(upper, *rows(rest, blocks)) for upper, *rest in ((x, y, state.held), state.before)]
        both = jax.vmap(sampled)(*jax.tree.map(lambda *v: jnp.stack(v), *drawn))
        (slopes, fresh, new), (slopes_before, fresh_before, old) = (
            jax.tree.map(lambda v, k=k: v[k], both) for k in range(2)
        )
        a, gamma = self.momentum, self._gain(problem.blocks)
        s = msvr(state.slopes, blocks, slopes, slopes_before, a, gamma)
        track = lambda estimates: msvr(estimates, blocks, fresh, fresh_before, a, gamma)  # noqa: E731
        held, memory = self.tracking.update(state.held, state.memory, blocks, track, state.rate)
        z = storm(state.direction, new, old, self.outer_momentum)
        upper = problem.outer_prox(tree.axpy(-self.outer_step, z, x), self.outer_step)
        ahead = state.x._replace(upper=upper, lower=tree.axpy(-state.rate, s, y))
        calls = self._charged(state.calls, problem, y)
        return BSVRBState(ahead, calls, (x, y, state.held), held, memory, s, z, state.rate)

    def _drawn(self, m: int) -> int:
        return m if self.blocks is None else min(self.blocks, m)

    def _gain(self, m: int) -> Any:
        return gain(m, self._drawn(m), self.momentum) if self.gain is None else self.gain

    def _draw(self, problem: MultiBlockBilevel, key: PRNGKeyArray) -> tuple:
        """Blocks, and terms of each at the upper and at the lower level; all where none is to be drawn."""
        m, keys = problem.blocks, jax.random.split(key, 3)
        size = self._drawn(m)
        blocks = jnp.arange(m) if size == m else jax.random.choice(keys[0], m, (size,), replace=False)

        def terms(key: PRNGKeyArray, count: int) -> Int[Array, "blocks batch"] | None:
            if self.batch_size is None:
                return None
            return jax.random.randint(key, (size, self.batch_size), 0, count)

        return blocks, terms(keys[1], problem.outer_count), terms(keys[2], problem.inner_count)

    def _charged(self, calls: Calls, problem: MultiBlockBilevel, y: PyTree[Array]) -> Calls:
        counts = (problem.outer_count, problem.inner_count)
        above, below = (self._drawn(problem.blocks) * (self.batch_size or count) for count in counts)
        products = self.tracking.products(jax.tree.map(lambda v: v[0], y))
        return calls.add(outer_sample=2 * above, sample=2 * below, sample_hvp=2 * below * products, prox=1)
