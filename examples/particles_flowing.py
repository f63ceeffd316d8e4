"""Particles flowing.

A measure is moved as a cloud of particles, each against its own velocity: on the line until every particle
has its share of a law, in the plane until the cloud has the shape of a digit. All that is told is a
functional of the cloud, here the energy distance to where it should be.
"""

# %%
# On the line that distance is displacement convex, so only the best particles are stationary, as long as they
# start apart. At one point all have the same velocity, and never part; a little noise tells them apart.

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import frechet as fr
from frechet.problems import EnergyDistance, UniformLaw
from frechet.solvers.stochastic.proximal_sgd import InverseSqrt


def flow(problem, start, solver, steps):
    """The particles after each step: a `scan` over the solver's own steps."""

    def step(state, key):
        state = solver.step(problem, state, key=key)
        return state, getattr(state, "particles", state.x)

    begun = solver.init(problem, start, key=jax.random.key(0))
    path = jax.lax.scan(step, begun, jax.random.split(jax.random.key(1), steps))[1]
    return jnp.concatenate([start[None], path])


law = fr.Particles(EnergyDistance(UniformLaw(-1.0, 1.0)))
point = jnp.full(24, 1.6)
schedule = InverseSqrt(0.1)
noisy = fr.solvers.PerturbedParticleGradientDescent(schedule, noise=0.3)
alone = flow(law, point, fr.solvers.ParticleGradientDescent(step_size=0.05), 300)
parting = flow(law, point, noisy, 300)
for name, path in (("without", alone), ("with", parting)):
    print(f"{name} noise: {float(jnp.ptp(path[-1])):.2f} apart, at distance {law.objective(path[-1]):.4f}")
print(f"the least distance of 24 particles is {1 / (3 * 24**2):.4f}")

# %%
# In the plane the same functional has kinks and need not be convex, and works: particles from a small disc
# become a zero, where the ink of a handwritten one is the law.

ink = np.reshape(load_digits(return_X_y=True)[0], (-1, 8, 8))[0]
rng = np.random.default_rng(0)
rows, columns = np.nonzero(ink > 5)
pixels = np.repeat(np.stack([columns, rows], axis=1), 5, axis=0)
shape = jnp.asarray(pixels + rng.uniform(-0.4, 0.4, pixels.shape))
disc = jnp.asarray(np.array([-1.5, 7.0]) + 0.3 * rng.normal(size=(160, 2)))
digit = fr.Particles(EnergyDistance(shape))
drawing = flow(digit, disc, fr.solvers.ParticleGradientDescent(step_size=0.5), 250)
print(f"distance to the digit: {digit.objective(disc):.2f}, then {digit.objective(drawing[-1]):.4f}")

# %%
figure, (line, plane) = plt.subplots(1, 2, figsize=(10, 4.4), width_ratios=[1, 1.1])
line.plot(parting, color="C0", linewidth=0.8)
line.plot(alone[:, :1], color="C3", linestyle="--", label="without noise, all 24")
line.plot([], color="C0", label="with noise")
line.set(xlabel="step", ylabel="particles on the line", xlim=(0, 300))
line.legend(frameon=False)
plane.imshow(ink, cmap="Greys", alpha=0.35)
for path in np.moveaxis(np.asarray(drawing), 1, 0):
    plane.plot(*path.T, color="C0", alpha=0.25, linewidth=0.6)
plane.scatter(*disc.T, s=3, color="C3", zorder=3)
plane.scatter(*drawing[-1].T, s=6, color="C0", zorder=3)
plane.set(xlim=(-3, 8))
plane.set_axis_off()
figure.tight_layout()
plt.show()
