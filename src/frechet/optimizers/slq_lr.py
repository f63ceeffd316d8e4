"""Learning rate and momentum from the Hessian's spectrum, and how the batch size bounds them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from frechet.core.space import Choice, LogUniform
from frechet.derivatives.curvature import hessian, stochastic_lanczos
from frechet.optimizers.moments import at_least_float32
from frechet.optimizers.registry import optimizer


def spiked_eigenvalue(eigenvalue: Any, noise: Any) -> Any:
    r"""Where an outlier of a large symmetric matrix appears once semicircular noise is added to it.

    $$\lambda \mapsto \lambda + \frac{s^2}{\lambda} \text{ if } \lambda > s, \text{ else } 2 s$$

    Below $s$ it drowns in the bulk of the noise, whose edge is at $2 s$.

    Args:
        eigenvalue: $\lambda > 0$, an array of any shape.
        noise: $s$, half of the semicircle's half-width.

    Source:
        Granziol, Zohren, Roberts 2022, Learning rates as a function of batch size: a random matrix theory
        approach to neural network training, arXiv 2006.09092.

    Example:
        >>> spiked_eigenvalue(1.0, 0.5).item(), spiked_eigenvalue(1.0, 1.5).item()
        (1.25, 3.0)
    """
    return jnp.where(eigenvalue > noise, eigenvalue + noise**2 / eigenvalue, 2 * noise)


def hessian_noise(batch_size: Any, batch_eigenvalue: Any, full_eigenvalue: Any) -> Any:
    r"""The constant $\kappa$ of $s^2(B) = \kappa / B$, from the largest eigenvalue at one batch size.

    The inverse of `spiked_eigenvalue`: $\kappa = B \lambda (\lambda_B - \lambda)$ where the outlier shows,
    $\lambda_B \le 2 \lambda$, and $\kappa = B (\lambda_B / 2)^2$ where it drowned.

    Args:
        batch_size: $B$.
        batch_eigenvalue: $\lambda_B$, of the Hessian of a batch.
        full_eigenvalue: $\lambda$, of the whole loss or of a batch much larger.

    Source: as `spiked_eigenvalue`.

    Example:
        >>> hessian_noise(16, 1.25, 1.0).item(), hessian_noise(16, 3.0, 1.0).item()
        (4.0, 36.0)
    """
    shows = batch_eigenvalue <= 2 * full_eigenvalue
    outlier = full_eigenvalue * (batch_eigenvalue - full_eigenvalue)
    return batch_size * jnp.where(shows, outlier, (batch_eigenvalue / 2) ** 2)


def stable_learning_rate(batch_size: Any, eigenvalue: Any, noise: Any) -> Any:
    r"""The learning rate above which SGD on batches of size $B$ diverges, $2 / \lambda_1(B)$.

    It grows with the batch and saturates at $2 / \lambda_1$: linearly while $\kappa / (B \lambda_1)$
    outweighs $\lambda_1$ and the outlier still shows, with the root of $B$ where it does not.

    Args:
        batch_size: $B$.
        eigenvalue: $\lambda_1$, the largest of the whole loss's Hessian.
        noise: $\kappa$, see `hessian_noise`.

    Source: as `spiked_eigenvalue`.

    Example:
        >>> [stable_learning_rate(B, 1.0, 4.0).item() for B in (1, 16, 10**6)]
        [0.5, 1.600000023841858, 1.9999918937683105]
    """
    return 2 / spiked_eigenvalue(eigenvalue, jnp.sqrt(noise / batch_size))


class HeavyBall(NamedTuple):
    """The two numbers of Polyak's heavy ball."""

    learning_rate: Any
    momentum: Any


def heavy_ball_optimum(largest: Any, smallest: Any) -> HeavyBall:
    r"""The fastest heavy ball on quadratics whose curvatures lie between two bounds.

    $$\eta = \left(\frac{2}{\sqrt L + \sqrt \ell}\right)^2, \qquad
      \beta = \left(\frac{\sqrt L - \sqrt \ell}{\sqrt L + \sqrt \ell}\right)^2$$

    The error falls by $\sqrt\beta$ a step.

    Args:
        largest: $L$.
        smallest: $\ell$ in $(0, L]$.

    Source:
        Polyak 1964, Some methods of speeding up the convergence of iteration methods, doi
        10.1016/0041-5553(64)90137-5.

    Example:
        >>> eta, beta = heavy_ball_optimum(9.0, 1.0)
        >>> eta.item(), beta.item()
        (0.25, 0.25)
    """
    a, b = jnp.sqrt(largest), jnp.sqrt(smallest)
    return HeavyBall((2 / (a + b)) ** 2, ((a - b) / (a + b)) ** 2)


class ScaleBySLQState(NamedTuple):
    """Attributes:
    count: updates so far.
    estimates: how many spectra had a positive part; until the first the initial values are used.
    key: of the next probes.
    learning_rate: the present one, smoothed.
    momentum: the present one, smoothed.
    velocity: the sum that the ball carries, like the parameters.
    """

    count: Any
    estimates: Any
    key: PRNGKeyArray
    learning_rate: Scalar
    momentum: Scalar
    velocity: PyTree[Array]


def scale_by_slq(
    every: int = 100,
    steps: int = 20,
    probes: int = 1,
    *,
    momentum: Any = None,
    max_step: Any = 1.0,
    max_momentum: Any = 0.99,
    decay: Any = 0.5,
    min_weight: Any = 1e-3,
    initial_learning_rate: Any = 1e-3,
    key: Any = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Heavy ball whose learning rate and momentum follow the spectrum of the Hessian.

    Every so many updates stochastic Lanczos quadrature estimates the spectrum; with $L$ its largest node
    and $\ell$ its smallest positive one that has some weight,

    $$\eta \leftarrow \min\left(\eta^\star(L, \ell), \frac{c}{L}\right), \qquad
      \beta \leftarrow \min(\beta^\star(L, \ell), \beta_{\max}), \qquad
      v_{t+1} = \beta v_t + \eta g_t,$$

    both smoothed by an exponential moving average. `heavy_ball_optimum` gives $\eta^\star$ and $\beta^\star$.
    A refresh costs ``probes * steps`` products with the Hessian, each about two gradients.

    ``update`` takes, besides the parameters, ``value_fn``, the loss of this batch as a function of the
    parameters, or ``hvp``, the product with a symmetric matrix (a larger batch's Hessian, a Gauss-Newton
    matrix) as a function of a pytree like the parameters. In the loss batch normalisation must use fixed
    statistics. Under `optax.masked` both are given the unmasked part, which a loss has to complete.

    Args:
        every: updates from one estimate to the next; the first is at the first update.
        steps: Lanczos steps a probe.
        probes: random vectors an estimate.
        momentum: $\beta$, if it is fixed; then $\eta = \min(1, c) / L$.
        max_step: $c$. The optimum for quadratics lies between 1 and 4; where gradients are noisy or curvature
            changes, 1 is safe.
        max_momentum: $\beta_{\max}$.
        decay: of the moving averages, an estimate at a time.
        min_weight: what a node needs to be $\ell$: a share of the spectrum.
        initial_learning_rate: used, without momentum, until a spectrum has a positive part.
        key: of the probes: an integer or a key.

    Returns:
        A transformation; its updates point uphill, to be scaled by a negative number.

    Raises:
        ValueError: ``every`` is less than 1; at an update, neither ``value_fn`` nor ``hvp`` is given.

    Source:
        Granziol, Zohren, Roberts 2022, Learning rates as a function of batch size: a random matrix theory
        approach to neural network training, arXiv 2006.09092.

    Example:
        >>> loss = lambda x: 0.5 * (x[0] ** 2 + 9 * x[1] ** 2)
        >>> tx = scale_by_slq(max_step=4.0)
        >>> x = jnp.ones(2)
        >>> _, state = tx.update(jax.grad(loss)(x), tx.init(x), x, value_fn=loss)
        >>> state.learning_rate.round(4), state.momentum.round(4)
        (Array(0.25, dtype=float32), Array(0.25, dtype=float32))
    """
    if every < 1:
        raise ValueError(f"every must be 1 or more, got {every}")

    def init_fn(params):
        typed = isinstance(key, Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        dtype = jnp.promote_types(jnp.result_type(*jax.tree.leaves(params), jnp.bfloat16), jnp.float32)
        return ScaleBySLQState(
            count=jnp.zeros([], jnp.int32),
            estimates=jnp.zeros([], jnp.int32),
            key=key if typed else jax.random.key(key),
            learning_rate=jnp.asarray(initial_learning_rate, dtype),
            momentum=jnp.zeros([], dtype) if momentum is None else jnp.asarray(momentum, dtype),
            velocity=optax.tree.zeros_like(params),
        )

    def hyperparameters(nodes: Array, weights: Array) -> HeavyBall:
        largest = jnp.max(nodes)
        counted = (nodes > 0) & (weights > min_weight)
        smallest = jnp.minimum(jnp.min(jnp.where(counted, nodes, jnp.inf)), largest)
        if momentum is not None:
            return HeavyBall(jnp.minimum(max_step, 1.0) / largest, jnp.asarray(momentum))
        best = heavy_ball_optimum(largest, smallest)
        return HeavyBall(
            jnp.minimum(best.learning_rate, max_step / largest), jnp.minimum(best.momentum, max_momentum)
        )

    def update_fn(updates, state, params=None, *, value_fn: Any = None, hvp: Any = None, **extra_args):
        del extra_args
        if hvp is None and (value_fn is None or params is None):
            raise ValueError("slq_lr needs update(grads, state, params, value_fn=loss) or hvp=product")

        def estimate(state: ScaleBySLQState) -> ScaleBySLQState:
            next_key, probe = jax.random.split(state.key)
            product = hessian(value_fn, params) if hvp is None else hvp
            spectrum = stochastic_lanczos(product, updates, probe, steps=steps, probes=probes)
            new = jax.lax.stop_gradient(hyperparameters(*spectrum))
            usable = jnp.isfinite(new.learning_rate) & (new.learning_rate > 0) & (new.momentum >= 0)
            kept = jnp.where(state.estimates > 0, decay, 0.0)

            def smooth(old: Array, new: Array) -> Array:
                return jnp.where(usable, kept * old + (1 - kept) * new, old).astype(old.dtype)

            return state._replace(
                estimates=state.estimates + usable,
                key=next_key,
                learning_rate=smooth(state.learning_rate, new.learning_rate),
                momentum=smooth(state.momentum, new.momentum),
            )

        due = state.count % every == 0
        if not jax.tree.leaves(updates):
            pass
        elif isinstance(due, Tracer):
            state = jax.lax.cond(due, estimate, lambda s: s, state)
        elif due:  # outside jit a conditional would compile anew for every new value_fn
            state = estimate(state)
        g, velocity = at_least_float32((updates, state.velocity))
        velocity = jax.tree.map(lambda v, g: state.momentum * v + state.learning_rate * g, velocity, g)
        state = state._replace(
            count=optax.safe_increment(state.count), velocity=optax.tree.cast_like(velocity, state.velocity)
        )
        return optax.tree.cast_like(velocity, updates), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


@optimizer(space={"learning_rate": LogUniform(0.1, 2.0), "max_step": Choice(1.0, 2.0, 4.0)})
def slq_lr(
    learning_rate: optax.ScalarOrSchedule = 1.0,
    every: int = 100,
    steps: int = 20,
    probes: int = 1,
    *,
    momentum: Any = None,
    max_step: Any = 1.0,
    max_momentum: Any = 0.99,
    decay: Any = 0.5,
    min_weight: Any = 1e-3,
    weight_decay: Any = 0.0,
    key: Any = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""SGD with momentum that sets its own learning rate and momentum from the Hessian's spectrum.

    $x_{t+1} = x_t - \alpha (v_{t+1} + \lambda x_t)$ with $v$ of `scale_by_slq`. The authors call the learner
    preliminary; they tried it on one network.

    Args:
        learning_rate: $\alpha$, a factor on the rate found, or a schedule of it.
        every: updates from one estimate to the next.
        steps: Lanczos steps a probe.
        probes: random vectors an estimate.
        momentum: if it is fixed; then the rate is $1 / L$ at most.
        max_step: the rate found is at most this over $L$.
        max_momentum: the momentum found is at most this.
        decay: of the moving averages of both.
        min_weight: the share of the spectrum that the smallest curvature must have.
        weight_decay: $\lambda$, decoupled, in units of the factor $\alpha$.
        key: of the probes: an integer or a key.

    Returns:
        A transformation; its ``update`` needs the parameters and ``value_fn`` or ``hvp``.

    Source:
        Granziol, Zohren, Roberts 2022, Learning rates as a function of batch size: a random matrix theory
        approach to neural network training, arXiv 2006.09092.

    Example:
        >>> loss = lambda x: 0.5 * (x[0] ** 2 + 9 * x[1] ** 2)
        >>> tx, x = slq_lr(max_step=4.0), jnp.ones(2)
        >>> state = tx.init(x)
        >>> for _ in range(20):
        ...     updates, state = tx.update(jax.grad(loss)(x), state, x, value_fn=loss)
        ...     x = optax.apply_updates(x, updates)
        >>> bool(loss(x) < 1e-6)
        True
    """
    return optax.chain(
        scale_by_slq(
            every,
            steps,
            probes,
            momentum=momentum,
            max_step=max_step,
            max_momentum=max_momentum,
            decay=decay,
            min_weight=min_weight,
            key=key,
        ),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
