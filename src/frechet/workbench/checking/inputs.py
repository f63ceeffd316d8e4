"""Checks of bad input: NaN, and problems and starts that cannot be taken."""

import jax
import jax.numpy as jnp
import numpy as np

from frechet.core.problem import Problem
from frechet.core.solve import default_tol, solve
from frechet.core.solver import Solver
from frechet.core.status import Ending, Origin
from frechet.workbench.checking.canonical import Case, all_cases, cast
from frechet.workbench.checking.common import finite, key


def _ends_nonfinite(solver: Solver, problem: Problem, x0, origin: Origin, what: str):
    try:
        solution = jax.block_until_ready(solve(problem, x0, solver, tol=default_tol(x0), key=key()))
    except Exception as error:
        raise AssertionError(
            f"{what} raised {type(error).__name__} ({_first_line(error)}); inside jit nothing can raise, so "
            "let NaN pass and the loop report it"
        ) from error
    ending, where = Ending(int(solution.status.code)), Origin(int(solution.status.origin))
    assert ending is Ending.NONFINITE, f"{what} ended {ending.name.lower()}; nonfinite is right"
    assert where is origin, f"{what} was blamed on {where.name}; {origin.name} is right"
    return solution


def check_nan_in_data(solver: Solver, case: Case) -> None:
    """NaN in the data ends in ``nonfinite`` with origin ``DATA`` and a finite x."""
    problem = case.make(cast({**case.parameters, **case.spoiled()}))
    solution = _ends_nonfinite(solver, problem, case.start(), Origin.DATA, "NaN in the data")
    assert finite(solution.x), "NaN in the data gave a non-finite x; the last finite iterate is right"


def check_nonfinite_start(solver: Solver, case: Case) -> None:
    """NaN or inf in x0 ends in ``nonfinite`` with origin ``START``."""
    for bad in (np.nan, np.inf):
        x0 = jax.tree.map(lambda v, bad=bad: jnp.full_like(v, bad), case.start())
        _ends_nonfinite(solver, case.problem(), x0, Origin.START, f"{bad} in x0")


def check_wrong_kind(solver: Solver, case: Case) -> None:
    """A problem it cannot take raises TypeError in one line that says what it takes or lacks."""
    foreign = next(c for c in [case, *all_cases()] if foreign_to(solver, c))
    problem = foreign.problem()
    wanted = solver.accepts.__name__
    lacking = sorted(solver.needs - problem.offers().keys())
    words = lacking if isinstance(problem, solver.accepts) and lacking else [wanted]
    try:
        solve(problem, foreign.start(), solver, max_steps=1, key=key())
    except TypeError as error:
        missing = [w for w in words if w not in str(error)]
        assert not missing, f"the error for {foreign.name} does not mention {missing}: {error}"
        assert "\n" not in str(error), f"the error for {foreign.name} is longer than a line: {error}"
        return
    except Exception as error:
        raise AssertionError(
            f"{foreign.name} raised {type(error).__name__} ({_first_line(error)}); TypeError is right, "
            "with the reason that fits() gives"
        ) from error
    raise AssertionError(
        f"it took {foreign.name} without complaint although it accepts {wanted} and needs "
        f"{sorted(solver.needs)}; an overridden fits() asks super().fits(problem) first"
    )


def foreign_to(solver: Solver, case: Case) -> bool:
    """Whether what the solver declares rules the case out (not what its ``fits`` says)."""
    problem = case.specimen
    return not isinstance(problem, solver.accepts) or bool(solver.needs - problem.offers().keys())


WRAPPED = "a tuple around it"


def check_wrong_start(solver: Solver, case: Case) -> None:
    """A start of the wrong structure, shape or dtype raises TypeError or ValueError that says something."""
    starts = {
        "integers": jax.tree.map(lambda v: jnp.zeros(v.shape, int), case.start()),
        "two entries too many": jax.tree.map(lambda v: jnp.zeros((v.size + 2,)), case.start()),
        "an axis too many": jax.tree.map(lambda v: jnp.zeros((*v.shape, 2)), case.start()),
        WRAPPED: (case.start(),),
    }
    problem = case.problem()
    for what, x0 in starts.items():
        try:
            # Forms are wrong while the program is made, if ever: none has to be compiled.
            jax.eval_shape(lambda x0: solve(problem, x0, solver, max_steps=1, key=key()).x, x0)
        except (TypeError, ValueError) as error:
            assert str(error).strip(), f"x0 with {what} raised {type(error).__name__} without a message"
        except Exception as error:
            raise AssertionError(
                f"x0 with {what} raised {type(error).__name__} ({_first_line(error)}); TypeError or "
                "ValueError is right, with what is wrong and what would be right"
            ) from error
        else:
            # A function of any pytree may take one more level of it.
            assert what == WRAPPED, f"x0 with {what} was taken without complaint; an error is right"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:200]
