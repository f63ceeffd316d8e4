"""Claims of "Lion Secretly Solves Constrained Optimization: As Lyapunov Predicts" (arXiv 2310.05898)."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import frechet as fr
from frechet import convex
from frechet.core import tree
from frechet.optimizers.conjugate import DecayPenalty, conjugate_value
from frechet.optimizers.kappa import EpsilonInsensitive, KLargest, LogCosh, LpNorm, PseudoHuber
from frechet.optimizers.lion_kappa import lion_kappa, scale_by_lion_kappa
from frechet.solvers.proximal.fista import FISTA
from frechet.workbench.claims import Evidence, claim

SYSTEM = "lion-kappa"
E = 0.3  # the width of those that have one
GROUPS = np.array([0, 0, 1, 2, 2, 2])


class Member(NamedTuple):
    """A function K of vectors, or of 3 x 2 matrices, and its conjugate as CVXPY states it.

    ``conjugate(y, cp)`` is the conjugate's finite part and what has to be at most one in its domain.
    """

    kappa: convex.Function
    conjugate: Callable[[Any, Any], tuple[Any, list]]
    shape: tuple[int, ...] = (6,)


def _groups(y: Any, cp: Any) -> tuple[Any, list]:
    return 0, [cp.norm(y[k == GROUPS]) for k in range(3)]


def _members() -> dict[str, Member]:
    """The table of the paper."""
    return {
        "l1": Member(convex.L1(), lambda y, cp: (0, [cp.norm_inf(y)])),
        "l2": Member(convex.L2(), lambda y, cp: (0, [cp.norm2(y)])),
        "l3": Member(LpNorm(3.0), lambda y, cp: (0, [cp.pnorm(y, 1.5)])),
        "group l2": Member(convex.GroupLasso(GROUPS), _groups),
        "Huber": Member(convex.Huber(1 / E, E), lambda y, cp: (E / 2 * cp.sum_squares(y), [cp.norm_inf(y)])),
        "epsilon-insensitive": Member(
            EpsilonInsensitive(E), lambda y, cp: (E * cp.norm1(y), [cp.norm_inf(y)])
        ),
        "3 largest": Member(KLargest(3), lambda y, cp: (0, [cp.norm_inf(y), cp.norm1(y) / 3])),
        "pseudo-Huber": Member(
            PseudoHuber(E), lambda y, cp: (-E * cp.sum(cp.sqrt(1 - cp.square(y))), [cp.norm_inf(y)])
        ),
        "log cosh": Member(
            LogCosh(), lambda y, cp: (-cp.sum(cp.entr(1 + y) + cp.entr(1 - y)) / 2, [cp.norm_inf(y)])
        ),
        "half squared l2": Member(convex.SquaredL2(), lambda y, cp: (cp.sum_squares(y) / 2, [])),
        "nuclear": Member(convex.Nuclear(), lambda y, cp: (0, [cp.sigma_max(y)]), (3, 2)),
    }


@claim(SYSTEM, "for each K of the table K(u) + K*(grad K(u)) = <u, grad K(u)>, to 1e-10", fast=False)
def fenchel_young() -> Evidence:
    import cvxpy as cp

    rng = np.random.default_rng(0)
    rows = []
    for name, (kappa, conjugate, shape) in _members().items():
        of = jax.jit(lambda u, kappa=kappa: (kappa(u), jax.grad(kappa)(u)))
        error, outside, odd = 0.0, 0.0, 0.0
        for _ in range(10):
            u = rng.normal(size=shape)
            value, y = map(np.asarray, of(u))
            # One rounding inside of the box, whose edge is where roots and logarithms end.
            finite, most = conjugate(cp.Constant(y * (1 - 2e-16)), cp)
            error = max(error, abs(value + getattr(finite, "value", finite) - np.sum(u * y)))
            outside = max([outside, *(float(m.value) - 1 for m in most)])
            odd = max(odd, np.max(np.abs(y + of(-u)[1])))
        row = {"K": name, "equality": error, "outside of dom K*": outside, "grad K(u) + grad K(-u)": odd}
        rows.append({**row, "holds": max(error, outside, odd) <= 1e-10})
    return Evidence.table(rows, note="10 random u each, K* by CVXPY's atoms")


def _least_squares() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    A = rng.normal(size=(12, 6)) / np.sqrt(12)
    return A, A @ (3 * rng.normal(size=6))


@claim(
    SYSTEM,
    "it minimises f(x) + K*(lambda x) / lambda for every K of the table, to 1e-3, with either form of decay",
    fast=False,
)
def composite() -> Evidence:
    import cvxpy as cp

    A, b = _least_squares()
    decay, steps = 0.5, 20_000
    f = lambda x: 0.5 * jnp.sum((A @ x.ravel() - b) ** 2)  # noqa: E731
    rate = optax.linear_schedule(0.02, 0.0, steps)

    def run(tx: Any, x0: jax.Array) -> jax.Array:
        def step(carry: tuple, _: None) -> tuple:
            x, state = carry
            updates, state = tx.update(jax.grad(f)(x), state, x)
            return (x + updates, state), None

        return jax.lax.scan(step, (x0, tx.init(x0)), None, length=steps)[0][0]

    rows = []
    for name, (kappa, conjugate, shape) in _members().items():
        x0 = jnp.zeros(shape)
        problem = fr.Composite(f, DecayPenalty(kappa, decay))
        proximal = fr.solve(problem, x0, FISTA(), tol=1e-9, max_steps=20_000).x
        variable = cp.Variable(shape)
        finite, most = conjugate(decay * variable, cp)
        flat = variable if len(shape) == 1 else cp.vec(variable, order="C")
        objective = cp.Minimize(0.5 * cp.sum_squares(A @ flat - b) + finite / decay)
        cp.Problem(objective, [m <= 1 for m in most]).solve(solver=cp.CLARABEL)
        row: dict[str, Any] = {"K": name}
        for form in ("decoupled", "proximal"):
            tx = lion_kappa(rate, weight_decay=decay, kappa=kappa, proximal=form == "proximal")
            x = jax.jit(lambda x0, tx=tx: run(tx, x0))(x0)
            row[f"{form} decay, to proximal gradient"] = float(jnp.max(jnp.abs(x - proximal)))
            row[f"{form} decay, to CVXPY"] = float(np.max(np.abs(x - variable.value)))
        rows.append({**row, "holds": max(v for v in row.values() if isinstance(v, float)) <= 1e-3})
    return Evidence.table(
        rows, note="largest difference of solutions; learning rate 0.02 decayed linearly to 0"
    )


def _path(tx: Any, grad: Any, x0: jax.Array, steps: int) -> jax.Array:
    """The iterates, the start included."""

    def step(carry: tuple, t: jax.Array) -> tuple:
        x, state = carry
        updates, state = tx.update(grad(x, t), state, x)
        return (x + updates, state), x

    (x, _), path = jax.lax.scan(step, (x0, tx.init(x0)), jnp.arange(steps))
    return jnp.concatenate([path, x[None]])


@claim(SYSTEM, "on min |x - (5, 0.3, -4)|^2 / 2 with lambda 0.5 Lion ends at (2, 0.3, -2), to 1e-4")
def box() -> Evidence:
    target = jnp.array([5.0, 0.3, -4.0])
    schedule = optax.schedules.join_schedules(
        [optax.constant_schedule(0.01), optax.linear_schedule(0.01, 0.0, 5000)], [5000]
    )
    tx = lion_kappa(schedule, weight_decay=0.5)
    x = jax.jit(lambda x0: _path(tx, lambda x, _: x - target, x0, 10_000)[-1])(jnp.zeros(3))
    error = float(jnp.max(jnp.abs(x - jnp.array([2.0, 0.3, -2.0]))))
    return Evidence.at_most(1e-4, error, note="largest error; 5000 steps at 0.01, as many decaying to 0")


@claim(
    SYSTEM,
    "phase 1: in every step the distance of lambda x to dom K* shrinks by 1 - lr lambda, on any gradients",
)
def phase_one() -> Evidence:
    rate, decay, steps = 0.01, 0.5, 2000
    shrink = (1 - rate * decay) ** np.arange(steps + 1)
    target = jnp.array([5.0, 0.3, -4.0])
    members, rng = _members(), np.random.default_rng(0)
    noise = jnp.asarray(3 * rng.normal(size=(steps, 6)))
    rows = []
    for name in ("l1", "l1", "l2", "3 largest", "nuclear"):
        kappa, _, shape = members[name]
        if not rows:  # the first is Lion where the numbers are known
            what, x0 = "towards (5, 0.3, -4)", jnp.array([10.0, -7.0, 1.0])
            grad = lambda x, t: x - target  # noqa: E731
        else:
            what, x0 = "random", jnp.asarray(20 * rng.normal(size=shape))
            grad = lambda x, t, shape=shape: noise[t].reshape(shape)  # noqa: E731
        tx = lion_kappa(rate, weight_decay=decay, kappa=kappa)

        def distances(x0: jax.Array, tx: Any = tx, grad: Any = grad, kappa: Any = kappa) -> jax.Array:
            # What sticks out of the domain is the norm's proximal map, by Moreau's identity.
            size = tree.largest if isinstance(kappa, convex.L1) else tree.norm
            return jax.vmap(lambda x: size(kappa.prox(decay * x, 1.0)))(_path(tx, grad, x0, steps)) / decay

        d = np.asarray(jax.jit(distances)(x0))
        excess = np.max(d - d[0] * shrink)
        rows.append(
            {
                "K": name,
                "gradients": what,
                "distance at first": d[0],
                "after 100 steps": d[100],
                "bound": d[0] * shrink[100],
                "step within 0.01": int(np.argmax(d <= 0.01)),
                "at the latest": int(np.argmax(d[0] * shrink <= 0.01)),
                "largest excess": excess,
                "holds": excess <= 1e-12 * d[0] and d[-1] <= 0.01,
            }
        )
    return Evidence.table(rows, note="distances of x, over 2000 steps")


@claim(SYSTEM, "a larger lambda gets there faster, and the loss there is worse")
def trade_off() -> Evidence:
    target, start, steps = np.array([5.0, 0.3, -4.0]), jnp.array([10.0, -7.0, 1.0]), 5000
    decays = np.array([0.25, 0.5, 1.0, 2.0])
    limits = np.clip(target, -1 / decays[:, None], 1 / decays[:, None])
    path = lambda w: _path(lion_kappa(0.01, weight_decay=w), lambda x, _: x - target, start, steps)  # noqa: E731
    paths = np.asarray(jax.jit(jax.vmap(path))(jnp.asarray(decays)))
    close = np.max(np.abs(paths - limits[:, None]), axis=2) <= 0.05
    arrived = np.where(close.any(1), close.argmax(1), np.nan)
    losses = np.sum((limits - target) ** 2, axis=1) / 2
    rows = [
        {"lambda": w, "steps": n, "loss": f, "holds": faster and worse and stayed}
        for w, n, f, faster, worse, stayed in zip(
            decays,
            arrived,
            losses,
            np.diff(arrived, prepend=np.inf) < 0,
            np.diff(losses, prepend=-np.inf) > 0,
            close[:, -1],
            strict=True,
        )
    ]
    return Evidence.table(rows, note="steps until within 0.05 of the solution in the box, learning rate 0.01")


@claim(
    SYSTEM,
    "in continuous time f + K*(lambda x) / lambda + c (K*(lambda x) + K(m) + lambda <x, m>) never increases",
    fast=False,
)
def lyapunov() -> Evidence:
    decay, ahead, points, members = 0.5, 0.4, 2000, _members()
    c = (1 - ahead) / (1 + ahead * decay)
    rng = np.random.default_rng(0)
    # Not convex: the theorem asks for no convexity of the objective.
    f = lambda x: jnp.sum(jnp.cos(2 * x) + 0.3 * x**2) + jnp.prod(x[:2])  # noqa: E731

    def energy(kappa: Any, x: jax.Array, m: jax.Array) -> jax.Array:
        star = conjugate_value(kappa, decay * x)
        return f(x) + star / decay + c * (star + kappa(m) + decay * jnp.vdot(x, m))

    def flow(kappa: Any, x: jax.Array, m: jax.Array) -> tuple:
        dm = jax.grad(f)(x) - m
        return -jax.grad(kappa)(m + ahead * dm) - decay * x, dm

    def rate(kappa: Any, x: jax.Array, m: jax.Array) -> tuple:
        gradients = jax.grad(energy, (1, 2))(kappa, x, m)
        terms = [jnp.vdot(a, b) for a, b in zip(gradients, flow(kappa, x, m), strict=True)]
        return sum(terms), sum(map(abs, terms)), energy(kappa, x, m)

    rows = []
    for name in ("l1", "l2", "l3", "Huber", "pseudo-Huber", "log cosh", "half squared l2"):
        kappa = members[name].kappa
        # Inside of the domain: scaled by the dual norm.
        x = rng.normal(size=(points, 6))
        sizes = {"l2": np.linalg.norm(x, axis=1), "l3": np.sum(np.abs(x) ** 1.5, axis=1) ** (1 / 1.5)}
        size = sizes.get(name, np.max(np.abs(x), axis=1))
        x = x / size[:, None] * rng.uniform(0, 0.999, (points, 1)) / decay
        m = rng.normal(size=(points, 6)) * 10.0 ** rng.uniform(-2, 1, (points, 1))
        slope, scale, H = map(
            np.asarray, jax.jit(jax.vmap(functools.partial(rate, kappa)))(jnp.asarray(x), jnp.asarray(m))
        )
        rows.append(
            {
                "K": name,
                "largest dH/dt": np.max(slope),
                "median dH/dt": np.median(slope),
                "holds": np.all(np.isfinite(H)) and np.all(slope <= 1e-12 * (1 + scale)),
            }
        )
    return Evidence.table(rows, note="2000 random points and momenta each, f not convex, lambda 0.5")


@claim(SYSTEM, "the published Lion is the member of the l1 norm: optax.lion to the bit, decay included")
def lion() -> Evidence:
    rng = np.random.default_rng(0)
    gradients, x0 = jnp.asarray(rng.normal(size=(100, 50))), jnp.asarray(rng.normal(size=50))
    ours, theirs = (
        jax.jit(lambda x0, tx=tx: _path(tx, lambda x, t: gradients[t], x0, 100))(x0)
        for tx in (lion_kappa(0.01, weight_decay=0.1), optax.lion(0.01, weight_decay=0.1))
    )
    state = sum(v.size for v in jax.tree.leaves(scale_by_lion_kappa().init(x0)))
    note = f"largest difference over 100 steps; {state} numbers of state for {x0.size} parameters"
    return Evidence.at_most(0.0, float(jnp.max(jnp.abs(ours - theirs))), note=note)
