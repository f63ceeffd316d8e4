"""A small neural network."""

import jax
import jax.numpy as jnp
import numpy as np

from frechet.problems import FiniteSum
from frechet.workbench import data
from frechet.workbench.suite.registry import Case, problem


@problem(
    "mlp",
    title="Neural network 64-16-10 on digits, nonconvex, 1,210 parameters",
    source="Handwritten digits (Alpaydin and Kaynak 1998), from scikit-learn",
)
def mlp() -> Case:
    """Tanh, cross entropy and a ridge of 0.001 on all parameters, from a seeded start of variance 1 / inputs.

    It has many local minima, so the optimum is only the least value that is known.
    """
    X, y = data.digits()

    def loss(layers, datum):
        x, label = datum
        hidden = jnp.tanh(x @ layers["hidden"]["weight"] + layers["hidden"]["bias"])
        logits = hidden @ layers["output"]["weight"] + layers["output"]["bias"]
        ridge = sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(layers))
        return jax.nn.logsumexp(logits) - logits[label] + 0.0005 * ridge

    # NumPy's generator, as JAX's gives other numbers in other precisions
    rng = np.random.default_rng(0)

    def layer(inputs, outputs):
        weight = rng.normal(size=(inputs, outputs)) / np.sqrt(inputs)
        return {"weight": jnp.asarray(weight), "bias": jnp.zeros(outputs)}

    x0 = {"hidden": layer(64, 16), "output": layer(16, 10)}
    # optimum: the best of 36 runs of SciPy's L-BFGS from perturbed starts, polished to a gradient of 1e-8
    return Case(FiniteSum(loss, (jnp.asarray(X), jnp.asarray(y))), x0, optimum=0.13536468617767114)
