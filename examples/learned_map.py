"""A learned map between two clouds of points.

Cells are measured before a treatment and, other cells, after it: nobody sees one twice. Of all maps that
carry the first cloud to the second, the one that moves points least says which cell became which.
"""

# %%
# Three types of cells, each of which responds in its own way. The map is a network from the identity. Its
# loss is the Sinkhorn divergence between what it makes of one sample and the other, and its Monge gap: what
# it moves beyond the least that would do.
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import frechet as fr


def cells(rng, n):
    """Two markers of n cells, before and after."""
    types = rng.permutation(np.repeat([0, 1, 2], [n // 2, 3 * n // 10, n // 5]))
    centres = np.array([[0.0, 0.0], [3.0, 1.0], [1.0, 3.5]])
    response = np.array([[0.0, -1.5], [1.5, 0.5], [0.5, 0.2]])
    before = centres[types] + 0.4 * rng.normal(size=(n, 2))
    return before, before + response[types] + 0.1 * rng.normal(size=(n, 2))


rng = np.random.default_rng(0)
(before, _), (_, after) = cells(rng, 1000), cells(rng, 1000)
held, became = map(jnp.asarray, cells(rng, 300))
network = eqx.nn.MLP(2, 2, 32, 2, activation=jax.nn.silu, key=jax.random.key(0))
problem = fr.TransportMap(
    fr.models.Residual(network, scale=0.3),
    jnp.asarray(before),
    jnp.asarray(after),
    epsilon=0.2,
    batch_size=128,
)
solver = fr.solvers.Optax(optax.adam(optax.cosine_decay_schedule(1e-2, 300)))
solution = fr.solve(problem, problem.parameters, solver, max_steps=300)

# %%
# How it does on cells that were not trained on. Here we know what became of each of them: the error is the
# mean squared distance to it, over the variance of all.
images = jax.vmap(problem.map(solution.x))(held)
for name, guess in (("as it was", held), ("its image", images)):
    error = jnp.mean(jnp.sum((guess - became) ** 2, axis=1)) / jnp.sum(jnp.var(became, axis=0))
    print(f"A cell after the treatment, guessed to be {name}: error {error:.3f}")

# %%
figure, axes = plt.subplots(figsize=(6.4, 5.2))
axes.scatter(*held.T, s=14, color="tab:blue", label="before", alpha=0.7)
axes.scatter(*became.T, s=14, color="tab:orange", label="after", alpha=0.5)
some = slice(0, 90)
axes.quiver(
    *held[some].T, *(images - held)[some].T, angles="xy", scale_units="xy", scale=1, width=0.003, color="0.25"
)
axes.set(xlabel="marker 1", ylabel="marker 2", aspect="equal")
axes.legend(frameon=False, loc="lower right")
plt.show()
