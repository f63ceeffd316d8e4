"""Costs, ranking and profile against the definitions, by brute force."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frechet.workbench.comparing.plan import ProblemCard
from frechet.workbench.comparing.profile import Goal, Reference, cost, goals, profile, ranking, ratios
from frechet.workbench.comparing.record import Record
from frechet.workbench.comparing.reference import best_run, reference

from .conftest import make_comparison, make_record, make_spec

FROM_TWO = Reference(2.0, "known", 3.0, 1e-16)


def test_cost_is_at_the_first_check_that_meets_the_goal():
    record = make_record(make_spec(), rate=0.5)
    # The residual 0.5**k is at most 1e-2 from k = 7 on, the gap 0.25**k at most 1e-6 from k = 10 on.
    assert cost(record, Goal("residual", 1e-2), "step", FROM_TWO) == 70
    assert cost(record, Goal("gap", 1e-6), "calls_prox", FROM_TWO) == 200
    assert cost(record, Goal("gap", 1e-6), "seconds", FROM_TWO) == pytest.approx(0.1)
    assert cost(record, Goal("gap", 1e-30), "step", FROM_TWO) == math.inf
    assert cost(record, Goal("gap", 1e-2), "calls_hvp", FROM_TWO) == math.inf
    assert cost(Record.failure(make_spec(), "no"), Goal("gap", 1e-2), "step", FROM_TWO) == math.inf


def test_nan_meets_no_goal():
    record = make_record(make_spec(), rate=0.5)
    record.columns["residual"][:] = np.nan
    assert cost(record, Goal("residual", 1.0), "step", FROM_TWO) == math.inf


def test_gap_is_a_fraction_of_the_starts():
    at = Reference(value=10.0, source="", start=30.0, rounding=1e-12)
    objective = np.array([30.0, 20.0, 10.0, 9.0])
    assert at.gap({"objective": objective}) == pytest.approx([1.0, 0.5, 5e-14, 5e-14])
    infeasible = Reference(value=10.0, source="", start=math.inf, rounding=1e-12)
    assert infeasible.gap({"objective": np.array([20.0])}) == pytest.approx([1.0])


MISSABLE = Reference(10.0, "", 4.0, 1e-12, always_feasible=False, start_infeasibility=8.0)


def test_a_point_below_the_optimum_that_violates_constraints_has_a_gap():
    trace = {
        "objective": np.array([4.0, 10.0, 6.0, 11.0, 10.0]),
        "measure_infeasibility": np.array([8.0, 4.0, 1.0, 0.0, 0.0]),
    }
    # The larger of the two distances, as a fraction of the start's, which is its violation of 8.
    assert MISSABLE.gap(trace) == pytest.approx([1.0, 0.5, 0.5, 0.125, 1.25e-13])
    record = make_record(make_spec(), checks=5)
    record.columns |= trace
    assert cost(record, Goal("gap", 1e-2), "step", MISSABLE) == 40
    blind = Reference(10.0, "", 4.0, 1e-12)
    assert cost(record, Goal("gap", 1e-2), "step", blind) == 0  # what would be rewarded otherwise


def test_a_lower_level_off_its_solution_counts_as_a_constraint_missed():
    columns = {
        "objective": np.array([4.0, 10.0, 10.0]),
        "measure_lower_distance": np.array([8.0, 4.0, np.nan]),
    }
    gap = MISSABLE.gap(columns)
    assert gap[:2].tolist() == [1.0, 0.5]
    assert np.isnan(gap[2])  # nobody knows: the lower level could not be solved


def test_without_a_measure_of_infeasibility_the_objective_counts_both_ways():
    assert MISSABLE.gap({"objective": np.array([6.0, 14.0])}) == pytest.approx([0.5, 0.5])


costs = st.lists(
    st.lists(st.one_of(st.just(math.inf), st.floats(1e-3, 1e3)), min_size=3, max_size=3),
    min_size=1,
    max_size=5,
).map(np.array)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(costs)
def test_profile_is_dolan_and_mores(table):
    ratio = ratios(table)
    for s, row in enumerate(table):
        for tau in (1.0, 2.0, 10.0, 1e7):
            within = [
                c <= tau * (1 + 1e-12) * table[:, p].min() for p, c in enumerate(row) if math.isfinite(c)
            ]
            assert profile(ratio[s] / (1 + 1e-12), np.array([tau]))[0] == pytest.approx(
                sum(within) / len(row)
            )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(costs)
def test_ranking_orders_by_solved_then_slowdown(table):
    ranks = ranking(table)
    assert sorted(r.solver for r in ranks) == list(range(len(table)))
    keys = [(-r.solved, r.slowdown if r.solved else math.inf) for r in ranks]
    assert keys == sorted(keys)
    for r in ranks:
        assert r.solved == np.isfinite(table[r.solver]).sum()
        if r.solved:
            assert r.slowdown >= 1 - 1e-12


def test_a_cost_of_nothing_is_the_best():
    ratio = ratios(np.array([[0.0], [0.0], [1e-9]]))
    assert ratio[0, 0] == ratio[1, 0] == 1.0 and ratio[2, 0] > 1e100


def test_goals_open_with_the_tolerance():
    assert goals(1e-5)[0] == Goal("residual", 1e-5)
    assert goals(None)[0] == Goal("residual", 1e-6)
    assert goals(1e-5)[0].label == "residual ≤ 1e-5"


def test_comparison_takes_the_median_over_seeds(tmp_path):
    comparison = make_comparison(tmp_path)
    middle, least, most = comparison.costs(Goal("residual", 1e-6), "seconds")
    names = [s.name for s in comparison.plan.solvers]
    fast = names.index("fast")
    # 0.3**12 < 1e-6 at step 120; seeds 0, 1, 2 run at paces 1, 1.1, 1.2 ms a step.
    assert [middle[fast, 0], least[fast, 0], most[fast, 0]] == pytest.approx([0.132, 0.12, 0.144])
    assert not np.isfinite(middle[names.index("slow")]).any()
    assert [names[r.solver] for r in comparison.ranking()] == ["fast", "steady", "slow"]
    assert comparison.measures == ["seconds", "step", "calls_gradient", "calls_prox"]
    assert comparison.sentence() == "fast was the fastest to a residual ≤ 1e-6 on all 2 problems."


def test_sentence_of_a_mixed_result(tmp_path):
    """On the second problem the leader takes twice the best one's time."""
    comparison = make_comparison(tmp_path)
    for record in comparison.records:
        if record.spec.problem == "problem1" and record.spec.solver == "fast":
            steady = comparison.of("problem1", "steady")[record.spec.seed]
            record.columns["seconds"] = steady.columns["seconds"] * 27 * 2 / 12
    assert comparison.sentence() == (
        "fast leads: it reached a residual ≤ 1e-6 on 2 of 2 problems, the fastest on 1 of them, "
        "and took 1.4 times the best solver's run time on average."
    )


CARD = ProblemCard("p", "P", "", "Composite", "k", 3, "float64", {}, None)
MISSABLE_CARD = dataclasses.replace(CARD, kind="Constrained", always_feasible=False)


def polish(*objective: float) -> Record:
    record = make_record(make_spec(solver="polish"))
    record.columns = {"objective": np.array(objective)}
    record.residual = 1e-14
    return record


def test_reference_is_the_lowest_and_says_where_from():
    runs = [make_record(make_spec(seed=0), 0.5, 20), make_record(make_spec(seed=1), 0.8, 20)]
    best = 2.0 + 0.25**19
    plain = reference(CARD, runs, None)
    assert plain.value == best and "s, seed 0, not polished" in plain.source and plain.start == 3.0
    polished = reference(CARD, runs, polish(best, 1.5))
    assert (
        polished.value == 1.5
        and "polishing to a residual of 1.0e-14 in float64 lowered it" in polished.source
    )
    worse = reference(CARD, runs, polish(best, best + 1))
    assert worse.value == best and "did not lower it" in worse.source
    import dataclasses

    known = reference(dataclasses.replace(CARD, optimum=1.0), runs, polish(best, 1.5))
    assert (known.value, known.source) == (1.0, "the problem's known optimum")
    above = reference(dataclasses.replace(CARD, optimum=1.9), runs, polish(best, 1.5))
    assert above.value == 1.5
    lost = reference(CARD, [Record.failure(make_spec(), "no")], None)
    assert math.isnan(lost.value)


@pytest.mark.parametrize(
    ("dtype", "optimum", "digit"),
    [("float64", -4.0, 4 * 2.0**-52), ("float32", 4.0, 4 * 2.0**-23), ("float64", 0.0, 3.0 * 2.0**-104)],
)
def test_rounding_is_the_last_digit_of_the_optimum(dtype, optimum, digit):
    import dataclasses

    card = dataclasses.replace(CARD, dtype=dtype, optimum=optimum)
    records = [make_record(make_spec())]
    assert reference(card, [] if optimum > 0 else records, None).rounding == pytest.approx(digit)


def test_failed_polish_is_told():
    failed = Record.failure(make_spec(), "it died")
    found = reference(CARD, [make_record(make_spec(), 0.5, 20)], failed)
    assert "polishing failed: it died" in found.source and found.value == 2.0 + 0.25**19


def _ended(seed: int, objective: float, residual: float, infeasibility: float = 0.0) -> Record:
    record = make_record(make_spec(seed=seed), checks=2)
    record.columns["objective"] = np.array([4.0, objective])
    record.columns["residual"] = np.array([9.0, residual])
    record.columns["measure_infeasibility"] = np.array([8.0, infeasibility])
    record.residual = residual
    return record


def test_the_best_run_with_constraints_is_that_of_least_residual():
    cheat, honest = _ended(0, 3.0, 5.0, 5.0), _ended(1, 10.0, 1e-9)
    assert best_run(CARD, [cheat, honest]) is cheat
    assert best_run(MISSABLE_CARD, [cheat, honest]) is honest
    lost = _ended(2, 1.0, math.nan)
    assert best_run(MISSABLE_CARD, [lost, honest]) is honest
    found = reference(MISSABLE_CARD, [cheat, honest], None)
    assert (found.value, found.start_infeasibility, found.always_feasible) == (10.0, 8.0, False)


def test_a_polished_reference_with_constraints_is_where_its_residual_is_least():
    polished = _ended(3, 9.0, 1e-3, 1e-3)
    polished.columns["objective"] = np.array([10.5, 10.0, 9.0])
    polished.columns["residual"] = np.array([1e-2, 1e-12, 1e-3])
    found = reference(MISSABLE_CARD, [_ended(1, 10.5, 1e-9)], polished)
    assert found.value == 10.0 and "changed it by -5.0e-01" in found.source
    known = dataclasses.replace(MISSABLE_CARD, optimum=10.25)
    assert reference(known, [_ended(1, 10.5, 1e-9)], polished).value == 10.25
