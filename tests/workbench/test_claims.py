"""Claims: the mechanism cannot pass what does not hold. The claims themselves run where they are shown, in
the docs, whose build fails if one does not."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from frechet.workbench import catalogue
from frechet.workbench.claims import Claim, Evidence, claim, claims, verify
from frechet.workbench.errors import UserError


class TestEvidence:
    @pytest.mark.parametrize(
        ("evidence", "holds"),
        [
            (Evidence.at_most(2.0, 2.0), True),
            (Evidence.at_most(2.0, 2.1), False),
            (Evidence.at_most(2.0, math.nan), False),
            (Evidence.at_least(2.0, 2.0), True),
            (Evidence.at_least(2.0, 1.9), False),
            (Evidence.at_least(2.0, math.nan), False),
            (Evidence.equal(1.0, 1.125, tolerance=0.125), True),
            (Evidence.equal(1.0, 1.25, tolerance=0.125), False),
            (Evidence.equal(1.0, math.nan, tolerance=0.125), False),
            (Evidence.table([{"holds": True}, {"holds": np.True_}]), True),
            (Evidence.table([{"holds": True}, {"holds": False}]), False),
            (Evidence.table([]), False),
        ],
    )
    def test_it_decides_itself(self, evidence, holds):
        assert evidence.holds is holds

    def test_it_reads_jax_and_numpy_numbers(self):
        evidence = Evidence.at_most(jnp.float32(0.5), np.float64(0.25), unit="s")
        assert evidence.holds is True
        assert (evidence.claimed_text, evidence.measured_text) == ("≤ 0.5 s", "0.25 s")

    def test_a_table_counts(self):
        evidence = Evidence.table([{"holds": True}, {"holds": False}, {"holds": True}])
        assert (evidence.claimed, evidence.measured) == ("all 3 rows", "2 of 3")


class TestMechanism:
    def test_every_claim_is_found_once(self):
        names = [c.name for c in claims()]
        assert len(names) == len(set(names))

    def test_a_claim_of_an_unknown_system_is_refused(self):
        with pytest.raises(UserError, match="did you mean handbook"):
            claim("hanbook", "it works")

    def test_the_function_stays_callable(self):
        made = claim("handbook", "it works")(lambda: Evidence.at_most(1, 0))
        assert isinstance(made, Claim)
        assert made().holds

    def test_what_raises_does_not_hold_and_says_why(self):
        verdict = Claim("handbook", "it works", lambda: Evidence.at_most(1, 1 / 0)).check()
        assert not verdict.holds
        assert verdict.reason == "ZeroDivisionError: division by zero"

    def test_what_is_no_evidence_does_not_hold(self):
        verdict = Claim("handbook", "it works", lambda: True).check()  # pyright: ignore[reportArgumentType]
        assert not verdict.holds
        assert "it should return Evidence" in verdict.reason

    def test_it_runs_in_the_precision_asked_for(self):
        made = Claim(
            "handbook", "bytes", lambda: Evidence.equal(8, jnp.zeros(()).dtype.itemsize, tolerance=0)
        )
        assert made.check("float64").holds
        assert not made.check("float32").holds

    def test_a_system_without_claims_is_a_mistake_not_a_pass(self, monkeypatch):
        from frechet.workbench.claims import registry

        monkeypatch.setattr(registry, "_found", lambda: ())
        with pytest.raises(UserError, match="has no claims"):
            list(verify(next(iter(catalogue.systems()))))
