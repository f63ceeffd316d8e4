"""Finding wrong labels by their weights.

Half the labels of a training set are random. Each example has a weight in the training loss, and the weights
are tuned by gradients of the loss on a few clean examples: those with wrong labels are found out.
"""

# %%
# 800 handwritten digits to train on, 400 with labels that can be trusted, and the rest to test with.

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import frechet as fr
from frechet.solvers.bilevel.inverse import ConjugateGradient
from frechet.workbench import data

X, y = data.digits()
order = np.random.default_rng(0).permutation(len(X))
X, y = jnp.asarray(X[order], jnp.float32), jnp.asarray(y[order])
draw = np.random.default_rng(1)
corrupted = draw.random(800) < 0.5
labels = jnp.where(corrupted, draw.integers(10, size=800), y[:800])
wrong = np.asarray(labels != y[:800])


def cross_entropy(w, X, y):
    return optax.softmax_cross_entropy_with_integer_labels(X @ w, y)


def training_loss(weights, w):
    return jnp.mean(jax.nn.sigmoid(weights) * cross_entropy(w, X[:800], labels)) + 5e-4 * jnp.sum(w**2)


def validation_loss(weights, w):
    return jnp.mean(cross_entropy(w, X[800:1200], y[800:1200]))


def accuracy(weights, w):
    return {"accuracy": jnp.mean(jnp.argmax(X[1200:] @ w, axis=1) == y[1200:])}


# %%
# The weights begin equal. Training goes on by Adam all the while; after every 20 steps the weights make one.
# For comparison, the same training with weights that stay.


def tuned(outer):
    return fr.tune(
        training_loss,
        validation_loss,
        jnp.zeros(800),
        jnp.zeros((64, 10)),
        inner=optax.adam(0.02),
        outer=outer,
        inner_steps=20,
        inverse=ConjugateGradient(steps=10),
        measure=accuracy,
        budget=fr.Budget(steps=200),
    )


found, equal = tuned(optax.adam(0.05)), tuned(optax.sgd(0.0))
curves = {"weights tuned": found.trace.columns(), "equal weights": equal.trace.columns()}
for name, columns in curves.items():
    print(f"{name}: test accuracy {columns['measure_accuracy'][-1]:.3f}")
weights = np.asarray(jax.nn.sigmoid(found.hyper))
print(f"mean weight of right labels {weights[~wrong].mean():.2f}, of wrong ones {weights[wrong].mean():.2f}")

# %%
# Above, the examples of least and of most weight, each with its given label; below, the weights of all.

figure = plt.figure(figsize=(10, 6))
rows = figure.subfigures(2, 1, height_ratios=[2, 3])
pictures = rows[0].subplots(2, 12)
by_weight = np.argsort(weights)
for axes, chosen in zip(pictures, (by_weight[:12], by_weight[-12:]), strict=True):
    for axis, i in zip(axes, chosen, strict=True):
        axis.imshow(X[i].reshape(8, 8), cmap="gray_r")
        axis.set_title(int(labels[i]), color="C3" if wrong[i] else "C0", fontsize=11)
        axis.set_axis_off()
left, right = rows[1].subplots(1, 2)
left.hist(
    [weights[~wrong], weights[wrong]], bins=25, label=["right label", "wrong label"], color=["C0", "C3"]
)
left.set(xlabel="weight", ylabel="examples")
left.legend()
for name, columns in curves.items():
    right.plot(columns["step"], columns["measure_accuracy"], label=name)
right.set(xlabel="steps of the weights", ylabel="test accuracy", ylim=(0.6, 1.0))
right.legend()
plt.show()
