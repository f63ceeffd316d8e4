"""Every optimizer tuned alike and run on training problems; what came out is the table in docs/optimizers.md.

    python benchmarks/training.py [FOLDER]

resumes in FOLDER, keeps every run there with a report, and writes docs/results/optimizers.json.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from frechet.workbench.comparing import Comparison, compare

PROBLEMS = ["mlp-digits", "cnn-digits", "heavy-tailed-logistic", "modular-addition", "transformer-text"]
BUDGET, TRIALS, SEEDS = "300steps", 8, 3
RESULTS = Path(__file__).parents[1] / "docs" / "results" / "optimizers.json"


def condensed(comparison: Comparison) -> dict:
    """What the documentation tells: memory, cost of a step, and steps to the targets."""
    plan = comparison.plan
    steps = comparison.costs(comparison.goals[0], "step")
    rows = []
    for s, solver in enumerate(plan.solvers):
        trained = {p.name: t for p in plan.problems if (t := comparison.outcome(p, solver.name))}
        if not trained:
            continue
        memory = [t.state for t in trained.values() if t.state is not None]
        against = [
            comparison.step_seconds(p, solver.name) / comparison.step_seconds(p, "sgd") for p in trained
        ]
        rows.append(
            {
                "name": solver.name,
                "memory": round(float(np.median(memory)), 2),
                "cost": round(float(np.median(against)), 2),
                "steps": {
                    p.name: [int(v) if np.isfinite(v) else None for v in steps[:, s, i]]
                    for i, p in enumerate(plan.problems)
                    if p.name in trained
                },
                "final": {p: [float(f"{v:.4g}") for v in t.final] for p, t in trained.items()},
                "settings": {p: t.settings for p, t in trained.items()},
            }
        )
    return {
        "command": comparison.command.rpartition(" --out")[0],
        "environment": comparison.environment,
        "trials": TRIALS,
        "seeds": SEEDS,
        "problems": [{"name": p.name, "title": p.name} for p in plan.problems],
        "optimizers": rows,
    }


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="frechet-training-")
    done = compare(PROBLEMS, budget=BUDGET, trials=TRIALS, seeds=SEEDS, precision="float32", out=folder)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(condensed(done), indent=1) + "\n", encoding="utf-8")
    print(f"{done.sentence()}\nreport: {done.page}\nresults: {RESULTS}")
