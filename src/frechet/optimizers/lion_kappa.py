"""Lion with any convex function in the place of the l1 norm: composite optimisation by weight decay."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from frechet.convex.function import Function, function
from frechet.convex.l1 import L1
from frechet.core.space import Choice, LogUniform
from frechet.optimizers.moments import at_least_float32
from frechet.optimizers.registry import optimizer
from frechet.optimizers.weight_decay import proximal_weight_decay


class ScaleByLionKappaState(NamedTuple):
    """``m`` is the average of gradients."""

    m: optax.Updates


def scale_by_lion_kappa(
    kappa: Function | None = None, b1: Any = 0.9, b2: Any = 0.99
) -> optax.GradientTransformation:
    r"""Maps momentum through the gradient of a convex function $K$.

    $$c_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad m_t = \beta_2 m_{t-1} + (1 - \beta_2) g_t, \qquad
      u_t = -\nabla K(-c_t)$$

    For a symmetric $K$ that is $\nabla K(c_t)$. The gradient is that of automatic differentiation: any
    `frechet.convex.Function` with values everywhere will do, and at kinks any subgradient.

    Args:
        kappa: $K$, a function of the whole tree; the l1 norm, whose gradient is the sign, when left out.
            Leaf by leaf by `frechet.convex.PerLeaf`.
        b1: how much of the old average goes into the update.
        b2: decay rate of the average; above ``b1`` in the theory.

    Returns:
        A transformation whose state is as large as the parameters.

    Raises:
        TypeError: ``kappa`` is no convex function.

    Source:
        Chen, Liu, Liang, Liu 2024, Lion secretly solves constrained optimization: as Lyapunov predicts,
        ICLR, arXiv 2310.05898.

    Example:
        >>> import frechet as fr
        >>> tx = scale_by_lion_kappa(fr.convex.L2(), b1=0.0)
        >>> tx.update(jnp.array([3.0, -3.0, 3.0, 3.0]), tx.init(jnp.zeros(4)))[0].tolist()
        [0.5, -0.5, 0.5, 0.5]
    """
    gradient = jax.grad(L1() if kappa is None else function(kappa))

    def init_fn(params):
        return ScaleByLionKappaState(optax.tree.zeros_like(params))

    def update_fn(updates, state, params=None):
        del params
        g, m = at_least_float32((updates, state.m))
        minus_c = jax.tree.map(lambda g, m: -((1 - b1) * g + b1 * m), g, m)
        u = jax.tree.map(jnp.negative, gradient(minus_c))
        m = optax.tree.update_moment(g, m, b2, 1)
        return optax.tree.cast_like(u, updates), ScaleByLionKappaState(optax.tree.cast_like(m, state.m))

    return optax.GradientTransformation(init_fn, update_fn)


@optimizer(
    space={
        "learning_rate": LogUniform(1e-5, 1e-1),
        "b1": Choice(0.9, 0.95),
        "b2": Choice(0.98, 0.99),
        "weight_decay": LogUniform(1e-3, 1.0),
    }
)
def lion_kappa(
    learning_rate: optax.ScalarOrSchedule = 1e-4,
    b1: Any = 0.9,
    b2: Any = 0.99,
    weight_decay: Any = 1e-3,
    kappa: Function | None = None,
    proximal: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""Lion-K: Lion with the gradient of any convex function in the place of the sign.

    $$x_{t+1} = x_t - \eta (u_t + \lambda x_t), \qquad u_t \text{ of `scale_by_lion_kappa`}$$

    Its weight decay $\lambda$ is no mere regularisation: the method minimises
    $f(x) + \frac{1}{\lambda} K^*(\lambda x)$, with $K^*$ the convex conjugate (`DecayPenalty`).

    | $K$ | update | what it imposes on $y = \lambda x$ |
    | --- | --- | --- |
    | `convex.L1()`: Lion | sign | $\max_i \lvert y_i\rvert \le 1$ |
    | `convex.L2()` | normalised | l2 ball |
    | `LpNorm(p)` | between the two | l_q ball, $1/p + 1/q = 1$ |
    | `convex.GroupLasso(labels)`, `convex.Rows(L2())` | normalised by group | l2 balls |
    | `convex.Huber(1 / e, e)` | clip(u / e) | box, $\frac{e}{2} \sum_i y_i^2$ |
    | `EpsilonInsensitive(e)` | sign beyond e | box, $e \sum_i \lvert y_i\rvert$ |
    | `KLargest(k)` | sign of the k largest | box, $\sum_i \lvert y_i\rvert \le k$ |
    | `PseudoHuber(e)` | smooth sign | $-e \sum_i \sqrt{1 - y_i^2}$ |
    | `LogCosh()` | tanh | an entropy in the box |
    | `convex.SquaredL2()` | momentum | $\frac12 \sum_i y_i^2$ |
    | `convex.Nuclear()` | $U V^\top$ of the SVD: Muon | spectral ball |

    An iterate outside of the domain approaches it by the factor $1 - \eta\lambda$ a step, whatever the
    gradients. Learning rates are 3 to 10 times smaller than AdamW's, weight decay as much larger. Where
    steps do not shrink by themselves, as those of norms, let the learning rate decay to converge.

    Args:
        learning_rate: $\eta$, a scalar or a schedule.
        b1: how much of the old average goes into the update.
        b2: decay rate of the average; above ``b1`` in the theory.
        weight_decay: $\lambda \ge 0$, decoupled as in AdamW.
        kappa: $K$, the l1 norm when left out. `optax.inject_hyperparams` wants it among its
            ``static_args``.
        proximal: whether decay divides by $1 + \eta\lambda$ instead, which the analysis assumes.

    Returns:
        A transformation whose state is as large as the parameters. By default it is `optax.lion`.

    Raises:
        TypeError: ``kappa`` is no convex function.

    Source:
        Chen, Liu, Liang, Liu 2024, Lion secretly solves constrained optimization: as Lyapunov predicts,
        ICLR, arXiv 2310.05898.

    Example:
        >>> import frechet as fr
        >>> tx = lion_kappa(0.25, weight_decay=0.5, kappa=fr.convex.L1())
        >>> params = jnp.array([1.0, -2.0])
        >>> updates, state = tx.update(jnp.array([3.0, -4.0]), tx.init(params), params)
        >>> updates.tolist()
        [-0.375, 0.5]
    """
    direction = scale_by_lion_kappa(kappa, b1, b2)
    if proximal:
        return optax.chain(
            direction,
            optax.scale_by_learning_rate(learning_rate),
            proximal_weight_decay(learning_rate, weight_decay),
        )
    return optax.chain(
        direction,
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
