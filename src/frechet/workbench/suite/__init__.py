"""Ready-made problems on real data, by name."""

from frechet.workbench.suite.registry import Case as Case
from frechet.workbench.suite.registry import Entry as Entry
from frechet.workbench.suite.registry import UnknownProblem as UnknownProblem
from frechet.workbench.suite.registry import entries as entries
from frechet.workbench.suite.registry import load as load
from frechet.workbench.suite.registry import names as names
from frechet.workbench.suite.registry import problem as problem
