"""Model predictive control with a quadratic program in the loop.

A cart with a pole is steered by a force that has a limit. Every tenth of a second a quadratic program plans
the next two seconds and its first force is applied. The whole loop, solver included, is one `lax.scan`.
"""

# %%
# The pole, linearised about standing upright, in steps of 0.1 seconds. The state is the cart's place and
# speed and the pole's angle and its speed.
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import frechet as fr

jax.config.update("jax_enable_x64", True)

dt, horizon, limit = 0.1, 20, 3.0
drift = jnp.array([[0, 1, 0, 0], [0, 0, -0.98, 0], [0, 0, 0, 1], [0, 0, 10.78, 0]])
push = jnp.array([[0.0], [1.0], [0.0], [-1.0]])
both = jax.scipy.linalg.expm(dt * jnp.block([[drift, push], [jnp.zeros((1, 5))]]))
A, B = both[:4, :4], both[:4, 4:]

# %%
# Unknowns are the forces and states of the plan, linked by the dynamics as equations; the force has bounds.
n, stage = 5 * horizon, 5
cost = jnp.tile(jnp.array([0.1, 1.0, 0.1, 10.0, 0.1]), horizon)
links = jnp.zeros((4 * horizon, n))
for k in range(horizon):
    links = links.at[4 * k : 4 * k + 4, stage * k].set(-B[:, 0])
    links = links.at[4 * k : 4 * k + 4, stage * k + 1 : stage * k + 5].set(jnp.eye(4))
    if k:
        links = links.at[4 * k : 4 * k + 4, stage * (k - 1) + 1 : stage * k].set(-A)
free = jnp.inf
upper = jnp.tile(jnp.array([limit, free, free, free, free]), horizon)


def plan(state):
    start = jnp.zeros(4 * horizon).at[:4].set(A @ state)
    problem = fr.QuadraticProgram(P=jnp.diag(cost), A=links, b=start, lower=-upper, upper=upper)
    return fr.solve(problem, jnp.zeros(n), fr.solvers.QuadraticInteriorPoint(), tol=1e-6)


# %%
# Four seconds from a pole that leans by a fifth of a radian. The plant is the nonlinear pendulum.


def plant(state, force):
    def slope(s):
        _, v, angle, speed = s
        turn = 10.78 * jnp.sin(angle) - force * jnp.cos(angle)
        return jnp.array([v, force - 0.98 * jnp.sin(angle), speed, turn])

    for _ in range(10):
        state = state + 0.1 * dt * slope(state + 0.05 * dt * slope(state))
    return state


def turn(state, _):
    solution = plan(state)
    force = solution.x.primal[0]
    return plant(state, force), (state, force, solution.status.converged, solution.steps)


begun = jnp.array([0.0, 0.0, 0.2, 0.0])
_, (states, forces, converged, steps) = jax.jit(lambda s: jax.lax.scan(turn, s, None, length=40))(begun)
print(f"{int(converged.sum())} of 40 plans converged, {int(steps.sum())} solver steps in all")

# %%

time = dt * jnp.arange(40)
figure, (above, below) = plt.subplots(2, 1, figsize=(7, 4.5), sharex=True)
above.plot(time, states[:, 0], label="cart, metres")
above.plot(time, states[:, 2], label="pole, radians")
above.legend(frameon=False)
below.step(time, forces, where="post", color="C2")
below.axhline(limit, color="0.7", lw=0.8, ls="--")
below.axhline(-limit, color="0.7", lw=0.8, ls="--")
below.set(xlabel="seconds", ylabel="force, newtons")
figure.tight_layout()
plt.show()
