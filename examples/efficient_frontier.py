"""An efficient frontier in one batch of quadratic programs.

Weights on the simplex that have the least variance for a given tolerance of risk: a quadratic program each.
Sixty of them are solved by one `vmap`, and the derivative of a portfolio with respect to the expected returns
says how much of it is the estimate's noise.
"""

# %%
# Monthly returns of seven stocks, in percent.
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import frechet as fr
from frechet.workbench.data import monthly_returns

jax.config.update("jax_enable_x64", True)

returns = jnp.asarray(monthly_returns())
months, stocks = returns.shape
mean, covariance = returns.mean(axis=0), jnp.cov(returns.T)

# %%
# Minimise $\tfrac12 w^\top \Sigma w - \tau \mu^\top w$ over the simplex.


def portfolio(tolerance, mean):
    problem = fr.QuadraticProgram(
        P=covariance, q=-tolerance * mean, A=jnp.ones((1, stocks)), b=jnp.ones(1), lower=0.0
    )
    return fr.solve(problem, jnp.full(stocks, 1 / stocks), tol=1e-7)


tolerances = jnp.geomspace(0.1, 1000, 60)
frontier = jax.jit(jax.vmap(portfolio, in_axes=(0, None)))(tolerances, mean)
weights = frontier.x.primal
print(frontier.status)

# %%
# Where no weight enters or leaves, a portfolio is linear in the expected returns. Their standard errors,
# carried over by the derivative, are the error of the weights.
middle = 10.0
sensitivity = jax.jacobian(lambda m: portfolio(middle, m).x.primal)(mean)
standard_error = jnp.sqrt(jnp.diag(sensitivity @ (covariance / months) @ sensitivity.T))
for k, (w, e) in enumerate(zip(portfolio(middle, mean).x.primal, standard_error, strict=True)):
    print(f"stock {k + 1}: {100 * w:5.1f} % ± {100 * e:.1f}")

# %%

risk = jnp.sqrt(jnp.einsum("ki,ij,kj->k", weights, covariance, weights))
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
left.plot(risk, weights @ mean, label="frontier")
left.plot(jnp.sqrt(jnp.diag(covariance)), mean, "k.", label="single stocks")
left.set(xlabel="standard deviation, % a month", ylabel="expected return, % a month")
left.legend(frameon=False)
right.stackplot(tolerances, weights.T, alpha=0.8)
right.set(xscale="log", xlabel="risk tolerance", ylabel="weights", ylim=(0, 1), xlim=(0.1, 1000))
figure.tight_layout()
plt.show()
