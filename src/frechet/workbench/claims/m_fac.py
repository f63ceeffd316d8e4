"""Claims of "M-FAC: Efficient Matrix-Free Approximations of Second-Order Information" (arXiv 2107.03356)."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from frechet.optimizers.inverse_fisher import InverseFisher
from frechet.optimizers.m_fac import m_fac, scale_by_m_fac
from frechet.optimizers.pruning import m_fac_prune, obs_step
from frechet.workbench import data
from frechet.workbench.claims import Evidence, claim

SYSTEM = "m-fac"


def _gradients(m: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(m, d))


def _dense(G: np.ndarray, damping: float) -> np.ndarray:
    return np.linalg.inv(damping * np.eye(G.shape[1]) + G.T @ G / len(G))


def _relative(got, want: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(got) - want) / np.linalg.norm(want))


@claim(SYSTEM, "products, diagonal and entries equal those of the dense inverse, to 1e-8")
def dense_inverse() -> Evidence:
    @jax.jit
    def ours(G, x, damping):
        inverse = InverseFisher(G, damping)
        column = jax.vmap(inverse.entry, (0, None))(jnp.arange(x.size), 5)
        return inverse.product(x), inverse.diagonal(), column

    rows = []
    for m, d, damping in ((16, 60, 1e-2), (128, 500, 1e-3), (300, 100, 1e-5)):
        G, x = _gradients(m, d), _gradients(1, d, seed=1)[0]
        product, diagonal, column = ours(G, x, damping)
        want = _dense(G, damping)
        row = {
            "gradients": m,
            "parameters": d,
            "damping": damping,
            "product": _relative(product, want @ x),
            "diagonal": _relative(diagonal, np.diag(want)),
            "column": _relative(column, want[:, 5]),
        }
        rows.append(row | {"holds": max(row["product"], row["diagonal"], row["column"]) < 1e-8})
    return Evidence.table(rows, note="relative errors")


@claim(SYSTEM, "the window holds exactly the last m gradients, and zeros before there are so many, to 1e-8")
def window() -> Evidence:
    m, d, damping = 16, 60, 1e-2
    G = _gradients(3 * m, d)
    tx = scale_by_m_fac(m, damping)

    def step(state, g):
        updates, state = tx.update(g, state)
        return state, updates

    got = np.asarray(jax.lax.scan(step, tx.init(jnp.zeros(d)), jnp.asarray(G))[1])
    padded = np.concatenate([np.zeros((m, d)), G])
    errors = [_relative(got[t], _dense(padded[t + 1 : t + 1 + m], damping) @ G[t]) for t in range(len(G))]
    return Evidence.at_most(1e-8, max(errors), note=f"{len(G)} steps of a window of {m}")


@claim(SYSTEM, "removing one weight meets the optimality conditions of the optimal brain surgeon, to 1e-10")
def one_weight() -> Evidence:
    m, d, damping = 16, 60, 1e-2
    G, w = _gradients(m, d), _gradients(1, d, seed=1)[0]
    inverse = _dense(G, damping)
    q = int(np.argmin(w**2 / np.diag(inverse)))
    pruned, _ = obs_step(
        jnp.asarray(w), jnp.asarray(G), 1 / d, jnp.ones(d, bool), prunable=True, damping=damping
    )
    want = w - w[q] * inverse[:, q] / inverse[q, q]
    return Evidence.at_most(1e-10, float(np.max(np.abs(np.asarray(pruned) - want))))


@claim(SYSTEM, "as the damping grows, damping times the product tends to the vector: at 1e8 to 1e-6")
def large_damping() -> Evidence:
    G, x = _gradients(16, 60), _gradients(1, 60, seed=1)[0]
    # the quotient is off by at most the largest eigenvalue of the undamped matrix over the damping
    bound = float(np.linalg.norm(G, 2) ** 2 / 16 / 1e8)
    got = 1e8 * InverseFisher(jnp.asarray(G), 1e8).product(jnp.asarray(x))
    return Evidence.at_most(min(bound, 1e-6), _relative(got, x))


def _operations(f, *shapes) -> dict[str, float]:
    analysis = jax.jit(f).lower(*shapes).compile().cost_analysis()
    return {k: analysis[k] for k in ("flops", "bytes accessed")}  # pyright: ignore[reportOptionalSubscript]


@claim(
    SYSTEM, "a product and an optimizer step cost O(dm): slope 1 in d and in m, over two decades", fast=False
)
def cost() -> Evidence:
    array = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)  # noqa: E731

    def product(m, d):
        inverse = eqx.filter_eval_shape(InverseFisher, array(m, d))
        return _operations(lambda i, x: i.product(x), inverse, array(d))

    def diagonal(m, d):
        return _operations(lambda i: i.diagonal(), eqx.filter_eval_shape(InverseFisher, array(m, d)))

    def step(m, d):
        tx = scale_by_m_fac(m)
        return _operations(tx.update, array(d), jax.eval_shape(tx.init, array(d)))

    rows = []
    for name, count in (("product", product), ("diagonal", diagonal), ("optimizer step", step)):
        sizes = {
            "d": [(64, d) for d in (10**5, 10**6, 10**7)],
            "m": [(m, 10**7) for m in (8, 80, 800)],
        }
        for axis, grid in sizes.items():
            counts = [count(m, d) for m, d in grid]
            along = np.log([m if axis == "m" else d for m, d in grid])
            slopes = {k: float(np.polyfit(along, np.log([c[k] for c in counts]), 1)[0]) for k in counts[0]}
            within = all(abs(s - 1) <= 0.1 for s in slopes.values())
            rows.append(
                {"what": name, "in": axis, **{f"slope of {k}": s for k, s in slopes.items()}, "holds": within}
            )
    return Evidence.table(
        rows, note="slopes of what the compiled programs do; factorising m x m numbers is not counted in them"
    )


SIZES = (64, 64, 10)


def _mlp(layers, x: jax.Array) -> jax.Array:
    (W, b), (V, c) = layers
    return jax.nn.relu(x @ W + b) @ V + c


def _pruned_digits(sparsities: tuple[float, ...], seeds: int = 3) -> list[dict[str, float]]:
    """Test accuracy of a digits' MLP pruned in one go by M-FAC and by magnitude, without training after."""
    X, y = (jnp.asarray(a) for a in data.digits())
    X = X.astype(jnp.float32)

    def loss(p, i):
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(_mlp(p, X[i]), y[i]))

    tx = optax.adam(2e-3)

    @jax.jit
    def trained(p, train, key):
        def step(carry, k):
            p, state = carry
            updates, state = tx.update(jax.grad(loss)(p, jax.random.choice(k, train, (64,))), state)
            return (optax.apply_updates(p, updates), state), None

        return jax.lax.scan(step, (p, tx.init(p)), jax.random.split(key, 660))[0][0]

    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        train, test = jnp.split(jnp.asarray(rng.permutation(len(y))), [1400])
        p = [
            (jnp.asarray(rng.normal(size=(n, k)) * np.sqrt(2 / n), jnp.float32), jnp.zeros(k, jnp.float32))
            for n, k in itertools.pairwise(SIZES)
        ]
        p = trained(p, train, jax.random.key(seed))
        accuracy = lambda p, test=test: float(jnp.mean(_mlp(p, X[test]).argmax(1) == y[test]))  # noqa: E731

        @jax.jit
        def gradients(p, key, train=train):
            return jax.vmap(lambda i: jax.grad(loss)(p, i))(jax.random.choice(key, train, (64, 32)))

        sizes = np.sort(np.concatenate([np.abs(W).ravel() for W, _ in p]))
        for s in sparsities:
            ours, mask = m_fac_prune(p, gradients, s, key=jax.random.key(seed))
            threshold = sizes[round(s * sizes.size)]
            theirs = [(jnp.where(jnp.abs(W) >= threshold, W, 0), b) for W, b in p]
            left = sum(int(W.sum()) for W, _ in mask) / sizes.size
            rows.append(
                {
                    "seed": seed,
                    "sparsity": round(1 - left, 4),
                    "before": accuracy(p),
                    "M-FAC": accuracy(ours),
                    "magnitude": accuracy(theirs),
                }
            )
    return rows


@claim(
    SYSTEM,
    "a digits' MLP pruned to 95 % without training after keeps more accuracy than by magnitude, every seed",
    fast=False,
)
def pruning() -> Evidence:
    rows = _pruned_digits((0.95,))
    return Evidence.at_least(
        0.0,
        min(r["M-FAC"] - r["magnitude"] for r in rows),
        note="smallest difference of test accuracy; 16 steps, 64 gradients of 32 samples, damping 1e-5",
        rows=rows,
    )


@claim(
    SYSTEM,
    "a digits' MLP pruned to 50 and 80 % is on average not below magnitude pruning",
    fast=False,
)
def moderate_pruning() -> Evidence:
    measured, rows = _pruned_digits((0.5, 0.8)), []
    for s in (0.5, 0.8):
        runs = [r for r in measured if round(r["sparsity"], 2) == s]
        ours, theirs = (np.mean([r[k] for r in runs]) for k in ("M-FAC", "magnitude"))
        rows.append({"sparsity": s, "M-FAC": ours, "magnitude": theirs, "holds": ours >= theirs})
    return Evidence.table(rows, note="means of 3 seeds")


@claim(
    SYSTEM,
    "on breast_cancer's logistic loss, damping 1e-2 and tuned, fewer steps than tuned SGD",
    fast=False,
)
def fewer_steps() -> Evidence:
    X, y = (jnp.asarray(a) for a in data.breast_cancer())

    def f(w, i=slice(None)):
        z = X[i] @ w
        return jnp.mean(jnp.logaddexp(0.0, z) - y[i] * z) + 5e-4 * w @ w

    w = jnp.zeros(30)
    for _ in range(20):
        w = w - jnp.linalg.solve(jax.hessian(f)(w), jax.grad(f)(w))
    target = f(w) + 1e-2

    def steps(make, rates):
        def run(lr, key):
            tx = make(lr)

            def step(carry, k):
                w, state = carry
                g = jax.grad(f)(w, jax.random.randint(k, (64,), 0, len(y)))
                updates, state = tx.update(g, state, w)
                w = optax.apply_updates(w, updates)
                return (w, state), f(w) <= target

            start = jnp.zeros(30)
            _, there = jax.lax.scan(step, (start, tx.init(start)), jax.random.split(key, 300))
            return jnp.where(there.any(), there.argmax() + 1, 301)

        keys = jax.random.split(jax.random.key(0), 10)
        found = jax.jit(jax.vmap(lambda lr: jax.vmap(lambda k: run(lr, k))(keys)))(jnp.asarray(rates))
        return float(np.min(np.median(np.asarray(found), axis=1)))

    rates = np.logspace(-2, 1.5, 15)
    sgd, ours = steps(optax.sgd, rates), steps(lambda lr: m_fac(lr, 64, 1e-2), rates / 100)
    return Evidence.at_most(
        sgd,
        ours,
        unit="steps",
        note="to within 1e-2 of the least loss, batches and window of 64; medians of 10 seeds at the best of "
        "15 learning rates each",
    )
