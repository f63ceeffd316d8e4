"""Conformance: every solver is run through checks that what it declares calls for; anybody's own too."""

# In this order: of the cases that fit a solver it is given the first.
# isort: off
from frechet.workbench.checking import canonical_minimisation as canonical_minimisation
from frechet.workbench.checking import canonical_programs as canonical_programs
from frechet.workbench.checking import canonical_equations as canonical_equations
from frechet.workbench.checking import canonical_linear_maps as canonical_linear_maps
from frechet.workbench.checking import canonical_density as canonical_density
from frechet.workbench.checking import canonical_levels as canonical_levels
from frechet.workbench.checking import canonical_measures as canonical_measures
from frechet.workbench.checking import canonical_operators as canonical_operators
from frechet.workbench.checking import canonical_transport as canonical_transport

# isort: on
from frechet.workbench.checking.canonical import Case as Case
from frechet.workbench.checking.runner import CheckResult as CheckResult
from frechet.workbench.checking.runner import check_optimizer as check_optimizer
from frechet.workbench.checking.runner import check_solver as check_solver
from frechet.workbench.checking.runner import yield_checks as yield_checks
from frechet.workbench.checking.transformations import yield_optimizer_checks as yield_optimizer_checks
