"""A step of a million hyperparameters against a training step: time, flops and memory.

A network of a million weights on handwritten digits, with the logarithm of a penalty for every weight. All
ratios are over a training step of the same network with Adam, on batches of the same size; its memory is that
of its parameters, moments, gradient and activations, as XLA plans it. The default is one product.

    python benchmarks/tuning.py [--width 960] [--batch 512]
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import interleaved, report

import frechet as fr
from frechet.solvers.bilevel.inverse import ConjugateGradient, Identity
from frechet.workbench.data import tables

INVERSES = {"none (T1-T2)": Identity()} | {
    f"{k} product{'s' * (k > 1)}": ConjugateGradient(steps=k) for k in (1, 3, 10)
}


def network(w: list, x: jax.Array) -> jax.Array:
    for kernel, bias in w[:-1]:
        x = jax.nn.relu(x @ kernel + bias)
    return x @ w[-1][0] + w[-1][1]


def fit(hyper: list, w: list, batch: tuple) -> jax.Array:
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(network(w, batch[0]), batch[1]))


def per_weight(hyper: list, w: list, batch: tuple) -> jax.Array:
    """The training loss with a penalty for each weight."""
    penalty = jax.tree.map(lambda h, v: jnp.sum(jnp.exp(h) * v**2), hyper, w)
    return fit(hyper, w, batch) + 0.5 * sum(jax.tree.leaves(penalty))


def of_one(w: list, batch: tuple) -> jax.Array:
    """The same with one penalty for all, as anybody has it."""
    return fit([], w, batch) + 0.5 * jnp.exp(-8.0) * sum(jnp.sum(v**2) for v in jax.tree.leaves(w))


def memory(compiled: jax.stages.Compiled) -> int:
    """Bytes in use while it runs: arguments, results and temporaries."""
    m = compiled.memory_analysis()
    return m.argument_size_in_bytes + m.output_size_in_bytes + m.temp_size_in_bytes - m.alias_size_in_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=960)
    parser.add_argument("--batch", type=int, default=512)
    arguments = parser.parse_args()
    X, y = tables.digits()
    order = np.random.default_rng(0).permutation(len(X))
    draw = lambda part: (jnp.asarray(X[part], jnp.float32), jnp.asarray(y[part]))  # noqa: E731
    train, valid = draw(order[: arguments.batch]), draw(order[arguments.batch : 2 * arguments.batch])
    sizes = (64, arguments.width, arguments.width, 10)
    keys = jax.random.split(jax.random.key(0), 3)
    w = [
        (jax.random.normal(k, (a, b)) * (2 / a) ** 0.5, jnp.zeros(b))
        for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]
    hyper = jax.tree.map(lambda v: jnp.full_like(v, -8.0), w)
    print(f"{sum(v.size for v in jax.tree.leaves(hyper)):,} hyperparameters, batches of {arguments.batch}")

    adam = optax.adam(1e-3)

    def training(w: list, moments: tuple, batch: tuple) -> tuple:
        updates, moments = adam.update(jax.grad(of_one)(w, batch), moments)
        return optax.apply_updates(w, updates), moments

    moments = adam.init(w)
    plain = jax.jit(training).lower(w, moments, train).compile()
    calls = {"train": lambda: plain(w, moments, train)}
    compiled = {}
    for name, inverse in INVERSES.items():
        tuner = fr.Tuner(per_weight, fit, optax.adam(1e-3), optax.adam(1e-2), inverse)
        state = tuner.init(hyper, w)
        step = jax.jit(lambda s, a, b, tuner=tuner: tuner.tune(s, a, b)).lower(state, train, valid).compile()
        compiled[name] = step
        calls[name] = lambda step=step, state=state: step(state, train, valid)
    times = interleaved(calls, repeats=9)
    for name, step in compiled.items():
        ratio, more = times[name] / times["train"], memory(step) / memory(plain)
        if name == "1 product":
            report("time of the default, in training steps", ratio, 5.0)
            report("memory of the default, in training steps", more, 3.0)
        print(f"        {name}: time {ratio:.2f} ({times[name] * 1e3:.0f} ms), memory {more:.2f}")


if __name__ == "__main__":
    main()
