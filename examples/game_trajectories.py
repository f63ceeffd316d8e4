"""Trajectories in a game.

One player minimises what the other maximises. Following gradients simultaneously goes round in circles, and
outwards; looking one step ahead leads to the equilibrium. All that the methods are told is the function.
"""

# %%
# The game $f(x, y) = xy + \frac{\mu}{2}(x^2 - y^2)$ has its saddle point at zero. With little curvature it is
# almost a rotation.

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import frechet as fr

game = fr.Saddle(lambda x, y: x * y + 0.05 * (x**2 - y**2))
start = fr.SaddlePoint(jnp.asarray(1.0), jnp.asarray(0.6))
methods = {
    "simultaneous gradients": fr.solvers.GradientDescentAscent(step_size=0.25),
    "extragradient": fr.solvers.Extragradient(step_size=0.4),
    "optimistic gradient": fr.solvers.OptimisticGradient(step_size=0.4),
    "fast extragradient (anchored)": fr.solvers.FastExtragradient(),
}

# %%
# A trajectory is a `scan` over the solver's own steps.


def trajectory(solver, steps=60):
    key = jax.random.key(0)
    begun = solver.init(game, start, key=key)

    def step(state, _):
        state = solver.step(game, state, key=key)
        return state, state.x

    path = jax.lax.scan(step, begun, None, length=steps)[1]
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, path)


figure, (plane, decay) = plt.subplots(1, 2, figsize=(10, 4.4))
for name, solver in methods.items():
    x, y = trajectory(solver)
    residual = jax.vmap(lambda x, y: jnp.hypot(*game.optimality(fr.SaddlePoint(x, y))))(x, y)
    print(f"{name}: residual {residual[-1]:.1e} after 60 steps")
    plane.plot(x, y, marker=".", markersize=4, linewidth=1, label=name)
    decay.semilogy(residual)
plane.plot(0, 0, "k*", markersize=10)
plane.set(xlabel="x, who minimises", ylabel="y, who maximises", xlim=(-1.6, 1.6), ylim=(-1.6, 1.6))
decay.set(xlabel="step", ylabel="residual")
figure.legend(*plane.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
figure.subplots_adjust(top=0.82)
plt.show()
