"""A curve fit with its standard errors.

Nonlinear least squares on certified data: the electron mobility of a semiconductor against its density, a
ratio of two cubics with seven parameters. The derivative of the fit with respect to every measurement, which
`jax.jacobian` takes through `fr.solve`, carries the noise of the measurements over to the parameters.
"""

# %%
# Thurber's data, from the Statistical Reference Datasets of the National Institute of Standards and
# Technology.
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import frechet as fr
from frechet.workbench.data import thurber

jax.config.update("jax_enable_x64", True)

x, y = map(jnp.asarray, thurber())
start = jnp.array([1000.0, 1000.0, 400.0, 40.0, 0.7, 0.3, 0.03])
scale = jnp.std(y)


def curve(b, x):
    return (b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3) / (1 + b[4] * x + b[5] * x**2 + b[6] * x**3)


# %%
# Parameters are fitted in units of their start and residuals in units of the measurements' spread, so that
# everything is of size one. The solver is the kind's own choice, Levenberg-Marquardt.


def fitted(y):
    problem = fr.LeastSquares(lambda u: (curve(start * u, x) - y) / scale)
    return start * fr.solve(problem, jnp.ones(7), tol=1e-7).x


b = fitted(y)
residual = curve(b, x) - y
variance = residual @ residual / (len(y) - len(b))

# %%
# The derivative of seven parameters with respect to 37 measurements, and what noise in these does to those.
# The textbook formula, which the certified values use, drops the curvature of the model: for the parameters
# of the denominator that matters here.
sensitivity = jax.jacobian(fitted)(y)
errors = jnp.sqrt(variance * jnp.sum(sensitivity**2, axis=1))
slope = jax.jacobian(curve)(b, x)
textbook = jnp.sqrt(variance * jnp.diag(jnp.linalg.inv(slope.T @ slope)))
for k in range(7):
    print(f"b{k + 1} = {b[k]:12.6f}  ± {errors[k]:.4f}  (textbook ± {textbook[k]:.4f})")

# %%
# The same goes for the curve itself: its standard error at every density.
fine = jnp.linspace(x.min(), x.max(), 300)
error = jnp.sqrt(variance * jnp.sum(jax.jacobian(lambda y: curve(fitted(y), fine))(y) ** 2, axis=1))
middle = curve(b, fine)

figure, (above, below) = plt.subplots(2, 1, figsize=(7, 5), height_ratios=(2, 1), sharex=True)
above.plot(fine, middle, label="fit")
above.plot(x, y, "k.", ms=4, label="measured")
above.set(ylabel="electron mobility")
above.legend(frameon=False)
below.fill_between(fine, -2 * error, 2 * error, alpha=0.2, label="± 2 standard errors of the fit")
below.plot(x, -residual, "k.", ms=4)
below.axhline(0, color="0.7", lw=0.8)
below.set(xlabel="logarithm of the density", ylabel="measured − fit")
below.legend(frameon=False, fontsize=8)
figure.tight_layout()
plt.show()
