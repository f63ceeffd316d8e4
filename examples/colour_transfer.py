"""The colours of one photograph in another.

The pixels of a photograph are a cloud in the space of colours. The entropic plan between two such clouds
moves one palette to the other; its potentials extend the map to colours that the plan has never seen, so a
few hundred pixels are enough to learn it.
"""

# %%
# Two photographs that come with scikit-learn, and a sample of the colours of each.
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images

import frechet as fr

china, flower = (jnp.asarray(v[::4, ::4] / 255.0) for v in load_sample_images().images)
rng = np.random.default_rng(0)
x, y = (v.reshape(-1, 3)[rng.choice(v.shape[0] * v.shape[1], 500)] for v in (china, flower))

problem = fr.Transport(fr.transport.PointCloud(x, y), regulariser=fr.transport.Entropic(0.02))
solution = fr.solve(problem, problem.initial())
report = problem.report(solution.x)
print(f"{solution.status}; cost {report.transport_cost:.4f}, gap {report.duality_gap:.1e}")


# %%
# For a new colour the best potential is one soft minimum over the other side's potentials, and where it
# goes is the mean over the plan that belongs to it. All pixels go at once; their costs are not stored.
@jax.jit
def recoloured(picture, palette, g):
    pixels = picture.reshape(-1, 3)
    every = fr.Transport(fr.transport.PointCloud(pixels, palette), regulariser=problem.regulariser)
    potentials = fr.Potentials(every.best_f(g), g)
    return every.push(potentials, palette).reshape(picture.shape)


china_like_flower = recoloured(china, y, solution.x.g)
flower_like_china = recoloured(flower, x, solution.x.f)


def distance(picture, palette):
    pixels = picture.reshape(-1, 3)[:: picture.size // 1500][:500]
    return fr.metrics.sinkhorn_divergence(pixels, palette, epsilon=0.01, relative=False)


print(f"the temple's colours from the flower's: {distance(china, y):.4f} before", end=", ")
print(f"{distance(china_like_flower, y):.4f} after")

# %%
figure, axes = plt.subplots(2, 2, figsize=(8.4, 5.8))
pictures = (china, china_like_flower), (flower, flower_like_china)
names = ("temple", "temple in the flower's colours"), ("flower", "flower in the temple's colours")
for row in range(2):
    for column in range(2):
        axes[row, column].imshow(np.clip(pictures[row][column], 0, 1))
        axes[row, column].set_title(names[row][column], fontsize=10)
        axes[row, column].axis("off")
figure.tight_layout()
plt.show()
