"""M-FAC against the paper's own recursions and dense inverses, all in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from frechet.optimizers.inverse_fisher import InverseFisher
from frechet.optimizers.m_fac import m_fac, scale_by_m_fac

M, D, DAMPING = 16, 60, 1e-2


def dense(G, lam):
    G = np.asarray(G, np.float64)
    return np.linalg.inv(lam * np.eye(G.shape[1]) + G.T @ G / len(G))


def static_recursion(G, lam, x):
    """Section 3 of the paper: product and diagonal."""
    v, den = [], []
    for g in G:
        v.append(g / lam - sum((vk * (vk @ g) / nk for vk, nk in zip(v, den, strict=True)), 0 * g))
        den.append(len(G) + g @ v[-1])
    product = x / lam - sum(vk * (vk @ x) / nk for vk, nk in zip(v, den, strict=True))
    return product, 1 / lam - sum(vk**2 / nk for vk, nk in zip(v, den, strict=True))


def dynamic_recursion(G, lam, x):
    """Section 4 of the paper: D by elimination without pivots, B row by row."""
    m = len(G)
    U = G @ G.T / lam + m * np.eye(m)
    for k in range(m):
        U[k + 1 :] -= np.outer(U[k + 1 :, k] / U[k, k], U[k])
    D = np.triu(U - m * np.eye(m))
    den = m + np.diag(D)
    B, q, p = np.eye(m) / lam, np.zeros(m), G @ x / lam
    for i in range(m):
        B[i, :i] = -sum((D[k, i] / den[k] * B[k, :i] for k in range(i)), np.zeros(i))
        q[i] = p[i] - sum(D[k, i] * q[k] / den[k] for k in range(i))
    return x / lam - G.T @ (B.T @ (q / den))


def relative(got, want):
    return np.linalg.norm(np.asarray(got, np.float64) - want) / np.linalg.norm(want)


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    return rng.normal(size=(M, D)).astype(np.float32), rng.normal(size=D).astype(np.float32)


class TestStatic:
    def test_agrees_with_both_of_the_papers_forms_and_the_dense_inverse(self, precision, drawn):
        G, x = (a.astype(precision) for a in drawn)
        bound = 1e-10 if precision == np.float64 else 1e-5
        got = InverseFisher(jnp.asarray(G), DAMPING).product(jnp.asarray(x))
        assert got.dtype == precision
        G, x = G.astype(np.float64), x.astype(np.float64)
        assert relative(got, dense(G, DAMPING) @ x) < bound
        assert relative(got, static_recursion(G, DAMPING, x)[0]) < bound
        assert relative(got, dynamic_recursion(G, DAMPING, x)) < bound

    def test_diagonal_and_entries(self, precision, drawn):
        G = drawn[0].astype(precision)
        bound = 1e-10 if precision == np.float64 else 1e-5
        inverse, want = InverseFisher(jnp.asarray(G), DAMPING), dense(G, DAMPING)
        assert relative(inverse.diagonal(), np.diag(want)) < bound
        entries = jax.vmap(inverse.entry, (0, None))(jnp.arange(D), 3)
        assert relative(entries, want[:, 3]) < bound

    @pytest.mark.parametrize("block_size", [7, 20, 100])
    def test_blocks_are_inverted_by_themselves(self, drawn, block_size):
        with jax.enable_x64(True):
            G, x = (jnp.asarray(a, jnp.float64) for a in drawn)
            inverse = InverseFisher(G, DAMPING, block_size)
            F = np.linalg.inv(dense(G, DAMPING))
            block = np.arange(D) // block_size
            want = np.linalg.inv(np.where(block[:, None] == block, F, 0))
            assert relative(inverse.product(x), want @ np.asarray(x)) < 1e-10
            assert relative(inverse.diagonal(), np.diag(want)) < 1e-10
            entries = jax.vmap(inverse.entry, (0, None))(jnp.arange(D), 8)
            assert relative(entries, want[:, 8]) < 1e-10

    def test_a_tree_is_its_raveled_vector(self, drawn):
        G, x = map(jnp.asarray, drawn)
        tree = lambda a: {"a": a[..., :40].reshape(*a.shape[:-1], 8, 5), "b": (a[..., 40:], None)}  # noqa: E731
        got, want = InverseFisher(tree(G), DAMPING), InverseFisher(G, DAMPING)
        assert jax.tree.all(jax.tree.map(jnp.array_equal, got.product(tree(x)), tree(want.product(x))))
        assert jax.tree.all(jax.tree.map(jnp.array_equal, got.diagonal(), tree(want.diagonal())))

    @pytest.mark.parametrize("scale", [1, 1000])
    def test_float32_resolves_the_papers_damping(self, drawn, scale):
        """Rounding grows with the condition number of the gradients, not with its square."""
        G, x = drawn
        G = scale * (G[0] + 1e-2 * G)
        inverse = InverseFisher(jnp.asarray(G), 1e-5)
        want = dense(G, 1e-5)
        bound = np.finfo(np.float32).eps * np.linalg.cond(G.astype(np.float64))
        assert relative(inverse.product(jnp.asarray(x)), want @ x) < bound < 1e-3
        error = np.max(np.abs(np.asarray(inverse.diagonal()) - np.diag(want))) * 1e-5
        assert error < bound
        assert np.all(np.asarray(inverse.diagonal()) > 0)

    def test_half_precision_is_computed_in_float32(self, drawn):
        G, x = (jnp.asarray(a, jnp.bfloat16) for a in drawn)
        got = InverseFisher(G, DAMPING).product(x)
        assert got.dtype == jnp.bfloat16
        assert relative(got, dense(G, DAMPING) @ np.asarray(x, np.float64)) < 2**-8

    @pytest.mark.parametrize("wrong", [{}, jnp.ones(()), {"a": jnp.ones((2, 3)), "b": jnp.ones((3, 3))}])
    def test_no_common_leading_axis(self, wrong):
        with pytest.raises(ValueError, match="same leading axis on every leaf"):
            InverseFisher(wrong)

    def test_no_block(self):
        with pytest.raises(ValueError, match="block_size must be positive, got 0"):
            InverseFisher(jnp.ones((2, 3)), block_size=0)


class TestWindow:
    def test_hundred_steps_against_dense_matrices(self, precision):
        """Before the window is full, zeros count; afterwards it holds exactly the last gradients."""
        rng = np.random.default_rng(1)
        grads = rng.normal(size=(100, D)).astype(precision)
        tree = lambda a: {"a": a[..., :40].reshape(*a.shape[:-1], 8, 5), "b": a[..., 40:]}  # noqa: E731
        tx = scale_by_m_fac(M, DAMPING)
        step = lambda state, g: tx.update(g, state)[::-1]  # noqa: E731
        state = tx.init(tree(jnp.zeros(D, precision)))
        _, got = jax.jit(lambda s, g: jax.lax.scan(step, s, g))(state, tree(jnp.asarray(grads)))
        got = np.concatenate([got["a"].reshape(100, 40), got["b"]], axis=1)
        padded = np.concatenate([np.zeros((M, D)), grads.astype(np.float64)])
        want = np.stack([dense(padded[t + 1 : t + 1 + M], DAMPING) @ grads[t] for t in range(100)])
        assert got.dtype == precision
        assert relative(got, want) < (1e-12 if precision == np.float64 else 1e-6)

    def test_the_optimizer_is_the_papers(self):
        """Decay enters the stored gradient; momentum averages what was preconditioned."""
        rng = np.random.default_rng(2)
        lr, mu, wd, lam, m = 0.03, 0.9, 0.1, 0.5, 4
        with jax.enable_x64(True):
            tx = m_fac(lr, m, lam, mu, wd)
            x = jnp.asarray(rng.normal(size=5))
            theta, v, window, state = np.asarray(x), np.zeros(5), [np.zeros(5)] * m, tx.init(x)
            update = jax.jit(tx.update)
            for _ in range(10):
                g = rng.normal(size=5)
                updates, state = update(jnp.asarray(g), state, x)
                x = optax.apply_updates(x, updates)
                window = [*window[1:], g + wd * theta]
                v = mu * v + (1 - mu) * dense(np.stack(window), lam) @ window[-1]
                theta = theta - lr * v
                assert relative(x, theta) < 1e-12

    def test_large_damping_is_gradient_descent(self):
        g = jnp.asarray(np.random.default_rng(3).normal(size=D), jnp.float32)
        tx = m_fac(learning_rate=0.1 * 1e8, window=M, damping=1e8)
        updates, _ = tx.update(g, tx.init(g), g)
        assert relative(updates, -0.1 * np.asarray(g, np.float64)) < 1e-6

    @pytest.mark.parametrize("spread", [0.0, 1e-4])
    def test_parallel_gradients_in_float32_still_descend(self, spread):
        """Their inner products are singular to rounding, and the paper's damping is far below it."""
        rng = np.random.default_rng(4)
        base = rng.normal(size=50)
        grads = jnp.asarray(10 * (base + spread * rng.normal(size=(100, 50))), jnp.float32)
        tx = scale_by_m_fac(64, 1e-5)
        _, updates = jax.lax.scan(lambda s, g: tx.update(g, s)[::-1], tx.init(grads[0]), grads)
        assert bool(jnp.all(jnp.sum(updates * grads, axis=1) > 0))

    def test_empty_window(self):
        with pytest.raises(ValueError, match="window must be at least 1 gradient, got 0"):
            scale_by_m_fac(0)
