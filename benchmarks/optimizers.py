"""One compiled, donated step over ten million parameters beside a copy, optax's Adam and PyTorch's AdamW.

Run: ``python benchmarks/optimizers.py``. A step is memory traffic, so its time is divided by the buffers (of
ten million numbers) that the method's definition reads and writes: gradient and parameters in, parameters
out, each number of state in and out. Three figures, each beside its bar: against the machine's copy
bandwidth, against ``optax.adam``, against ``torch.optim.AdamW(fused=True)``. First as XLA compiles by itself,
then told to write several results in one loop and not to copy what it need not; the same two flags serve any
training loop.
"""

import collections
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from timing import interleaved, report

from frechet.optimizers.registry import optimizers

SHAPES = ((4000, 1000), (3000, 1000), (2_000_000,), (1000, 1000))
SIZE = 10_000_000
FLAGS = (
    "--xla_cpu_copy_insertion_use_region_analysis=true "
    "--xla_backend_extra_options=xla_cpu_use_multi_output_fusion"
)
ELEMENTWISE = (
    "adan",
    "adamomentum",
    "affine-noise-adam",
    "affine-noise-rmsprop",
    "diffgrad",
    "grams",
    "lion-kappa",
    "random-scaling",
)
# These take a norm or an inner product first, so they read more than their buffers once; shown without a bar.
REDUCING = ("adamp", "sgdp", "perpgrad", "normalized-gd", "blockwise-adam", "coordinate-clip")


class Step(NamedTuple):
    """A compiled step, which keeps what it changes to itself."""

    call: Any
    buffers: float
    compile_seconds: float
    program: str


def step(tx: optax.GradientTransformation, gradients: list[jax.Array]) -> Step:
    """One of optax's kind: update and addition in one program, parameters and state donated."""
    params = [jnp.full(shape, 0.1) for shape in SHAPES]
    state = jax.tree.map(jnp.array, tx.init(params))

    def update(params: Any, gradients: Any, state: Any) -> Any:
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    begun = time.perf_counter()
    compiled = jax.jit(update, donate_argnums=(0, 2)).lower(params, gradients, state).compile()
    seconds = time.perf_counter() - begun
    held = {"params": params, "state": state}

    def call() -> Any:
        held["params"], held["state"] = compiled(held["params"], gradients, held["state"])
        return held

    numbers = sum(v.size for v in jax.tree.leaves(state)) / SIZE
    return Step(call, 3 + 2 * round(numbers), seconds, loops(compiled.as_text() or ""))


def loops(program: str) -> str:
    """How many loops and copies a leaf takes: each goes through memory once for all it reads and writes."""
    entry = program[program.index("ENTRY") :]
    large = re.findall(r"= \(?f32\[(?:\d+,)?(?:1000|2000000)\].*? (fusion|copy|call|while)\(", entry)
    found = collections.Counter(large)
    each = ", ".join(f"{n / len(SHAPES):g} {kind}" for kind, n in sorted(found.items()))
    return f"{each} a leaf"


def fused_adamw() -> Any:
    """PyTorch's."""
    params = [torch.nn.Parameter(torch.full(shape, 0.1)) for shape in SHAPES]
    for p in params:
        p.grad = torch.full_like(p, 0.01)
    return torch.optim.AdamW(params, fused=True).step


def copying() -> Any:
    """As fast as all cores copy ten million numbers."""
    source, target = np.ones(SIZE, np.float32), np.ones(SIZE, np.float32)
    parts = np.array_split(np.arange(SIZE), os.cpu_count() or 1)
    spans = [slice(p[0], p[-1] + 1) for p in parts]
    pool = ThreadPoolExecutor(len(spans))
    return lambda: list(pool.map(lambda s: np.copyto(target[s], source[s]), spans))


def measure() -> None:
    """All of them in turns."""
    gradients = [jnp.full(shape, 0.01) for shape in SHAPES]
    declared = optimizers()
    steps = {"optax.adam": step(optax.adam(1e-3), gradients)}
    steps |= {name: step(declared[name].factory(), gradients) for name in (*ELEMENTWISE, *REDUCING)}
    alternatives = {name: s.call for name, s in steps.items()}
    times = interleaved(alternatives | {"torch": fused_adamw(), "copy": copying()})
    copy, adam, fused = times["copy"] / 2, times["optax.adam"] / 7, times["torch"] / 7
    print(f"        copy: {copy * 2e3:.1f} ms, {8 * SIZE / times['copy'] / 1e9:.1f} GB/s")
    print(f"        torch.optim.AdamW(fused=True): {times['torch'] * 1e3:.1f} ms, 7 buffers")
    for name, s in steps.items():
        each = times[name] / s.buffers
        text = f"{times[name] * 1e3:.1f} ms, {s.buffers:g} buffers, {s.program}"
        text += f", {s.compile_seconds:.1f} s to compile"
        if name in REDUCING:
            print(f"        {name}: {copy / each:.2f} of the copy bandwidth, {text}")
            continue
        report(f"{name} over a copy, a buffer", each / copy, 1 / 0.6, text)
        if name != "optax.adam":
            report(f"{name} over optax.adam, a buffer", each / adam, 1.1)
        report(f"{name} over torch's fused AdamW, a buffer", each / fused, 1.3)


if __name__ == "__main__":
    if "--measure" in sys.argv:
        measure()
    else:
        for title, flags in (("XLA by itself", ""), (f"XLA_FLAGS='{FLAGS}'", FLAGS)):
            print(f"-- {title}", flush=True)
            flags = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
            # PyTorch's threads spin after a step and would slow down whatever comes next.
            environment = os.environ | {"XLA_FLAGS": flags, "OMP_WAIT_POLICY": "PASSIVE"}
            subprocess.run([sys.executable, __file__, "--measure"], env=environment, check=True)
