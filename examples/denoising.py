"""Denoising a signal without knowing the truth.

Total-variation denoising keeps the edges of a signal and flattens what lies between. How strongly? Stein's
unbiased risk estimate answers without the clean signal, if one knows the trace of the derivative of the
denoised signal with respect to the noisy one. `fr.solve` is differentiable with respect to the data, so that
is a few Jacobian-vector products with random sign vectors.
"""

# %%
# A row of a photograph that comes with scikit-image, with noise of a known level.
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from skimage.data import camera

import frechet as fr

jax.config.update("jax_enable_x64", True)

clean = jnp.asarray(camera()[256] / 255.0)
sigma = 0.1
rng = np.random.default_rng(0)
noisy = clean + sigma * rng.normal(size=clean.shape)


def denoise(signal, weight):
    problem = fr.Composite(lambda u: 0.5 * jnp.sum((u - signal) ** 2), fr.convex.TotalVariation1D(weight))
    return fr.solve(problem, signal, fr.solvers.FISTA(), tol=1e-8).x


# %%
# The estimate, averaged over a few sign vectors, beside the true risk that it does not get to see.
probes = jnp.asarray(rng.choice([-1.0, 1.0], size=(8, clean.size)))


def estimate(weight):
    denoised = denoise(noisy, weight)

    def trace(probe):
        return probe @ jax.jvp(lambda s: denoise(s, weight), (noisy,), (probe,))[1]

    freedom = jnp.mean(jax.vmap(trace)(probes))
    return jnp.mean((denoised - noisy) ** 2) + sigma**2 * (2 * freedom / clean.size - 1)


weights = jnp.geomspace(0.02, 1.0, 25)
risk = jnp.array([jnp.mean((denoise(noisy, w) - clean) ** 2) for w in weights])
guess = jnp.array([jax.jit(estimate)(w) for w in weights])
chosen = weights[jnp.argmin(guess)]
print(f"weight {chosen:.3f} by the estimate, {weights[jnp.argmin(risk)]:.3f} knowing the truth")
print(f"mean squared error {jnp.mean((noisy - clean) ** 2):.5f} before, {risk[jnp.argmin(guess)]:.5f} after")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), width_ratios=(2, 1))
left.plot(noisy, color="0.8", lw=0.8, label="noisy")
left.plot(clean, color="0.3", lw=0.8, label="clean")
left.plot(denoise(noisy, chosen), color="C3", lw=1.4, label="denoised")
left.set(xlabel="pixel", ylabel="grey value")
left.legend(frameon=False)
right.loglog(weights, risk, label="true risk")
right.loglog(weights, guess, "--", label="Stein's estimate")
right.axvline(chosen, color="0.7", lw=0.8)
right.set(xlabel="weight")
right.legend(frameon=False)
figure.tight_layout()
plt.show()
