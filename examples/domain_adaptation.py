"""Labels that follow the data when a camera is turned.

A classifier has seen labelled digits. New ones arrive from a camera that hangs askew, without labels.
Transport moves the labelled digits onto the new ones, and a classifier of nearest neighbours learns from
what has arrived. Whether pictures of one class stay together can be asked for: a cost is an array like any
other, and what the first plan says about classes goes into the cost of the next.
"""

# %%
# Labelled digits, and others turned by 25 degrees.
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import rotate
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

import frechet as fr

X, y = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(X))
seen, new = order[:500], order[500:1000]
source = X[seen] / 16
target = rotate(X[new].reshape(-1, 8, 8) / 16, 25, axes=(1, 2), reshape=False, order=1).reshape(-1, 64)


def accuracy(pictures):
    return KNeighborsClassifier(3).fit(pictures, y[seen]).score(target, y[new])


print(f"accuracy without transport: {accuracy(source):.2f}")

# %%
# A plan says what share of a new digit's mass comes from each class. Where the classes of a pair disagree
# with it, the next round's cost is higher.
between = fr.transport.PointCloud(source, target).matrix()
scale = between.mean()
regulariser = fr.transport.Entropic(0.1 * scale, relative=False)
classes = jnp.eye(10)[y[seen]]
cost, rounds = between, []
for _ in range(3):
    problem = fr.Transport(cost, regulariser=regulariser)
    solution = fr.solve(problem, problem.initial())
    moved = problem.push(solution.x, jnp.asarray(target, between.dtype))
    rounds.append(accuracy(np.asarray(moved)))
    votes = problem.plan(solution.x).T @ classes
    cost = between + 0.5 * scale * (1 - classes @ (votes / votes.sum(1, keepdims=True)).T)
    print(f"accuracy after transport: {rounds[-1]:.2f}, gap {problem.report(solution.x).duality_gap:.1e}")

# %%
figure, axes = plt.subplots(3, 8, figsize=(8.4, 3.6))
some = [np.flatnonzero(y[seen] == k)[0] for k in range(8)]
for column, place in enumerate(some):
    alike = np.flatnonzero(y[new] == y[seen][place])[0]
    for row, picture in enumerate((source[place], np.asarray(moved)[place], target[alike])):
        axes[row, column].imshow(picture.reshape(8, 8), cmap="gray_r")
        axes[row, column].set(xticks=[], yticks=[])
labels = f"labelled\n{accuracy(source):.0%}", f"transported\n{rounds[-1]:.0%}", "new"
for row, label in enumerate(labels):
    axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=10)
figure.suptitle("Trained on the first row, or on the second: accuracy on the new pictures", fontsize=10)
figure.tight_layout()
plt.show()
