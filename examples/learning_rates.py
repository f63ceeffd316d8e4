"""Sensitivity to the learning rate.

A network is trained on handwritten digits by four optimizers at 16 learning rates each. The rate is an array
like any other, so a sweep is a `vmap`: one compiled program an optimizer.
"""

# %%
# The problem comes from the suite: batches of 64, and 397 pictures held out.

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import frechet as fr
from frechet.workbench import suite

case = suite.load("mlp-digits")
rates = jnp.geomspace(1e-5, 1.0, 16)


def held_out_loss(factory, rate):
    solver = fr.solvers.Optax.of(factory, learning_rate=rate)
    trained = fr.solve(case.problem, case.x0, solver, max_steps=150)
    return case.problem.measures(trained.x)["loss"]


# %%
# Each works over a range of its own. A run that diverges ends with its last finite iterate, and its status
# says so.

factories = {
    "SGD with momentum": lambda learning_rate: optax.sgd(learning_rate, momentum=0.9),
    "Adam": optax.adam,
    "Adan": fr.optimizers.adan,
    "Lion-K": fr.optimizers.lion_kappa,
}
figure, axis = plt.subplots(figsize=(7, 4))
for name, factory in factories.items():
    losses = np.asarray(jax.jit(jax.vmap(lambda rate, f=factory: held_out_loss(f, rate)))(rates))
    best = int(np.nanargmin(losses))
    print(f"{name}: best at {rates[best]:.1e}, held-out loss {losses[best]:.3f}")
    axis.loglog(rates, losses, marker="o", markersize=3, label=name)
axis.set(xlabel="learning rate", ylabel="held-out loss after 150 steps", ylim=(0.04, 10))
axis.legend()
plt.show()
