"""Real data that installs with the workbench, and seeded generators; nothing is ever downloaded.

Every loader returns float64 or integer NumPy arrays that are read-only and loaded once; JAX gives them its
default precision when a problem is made of them.
"""

from frechet.workbench.data.bilevel_quadratics import BilevelQuadratics as BilevelQuadratics
from frechet.workbench.data.bilevel_quadratics import bilevel_quadratics as bilevel_quadratics
from frechet.workbench.data.bilevel_quadratics import quadratic_term as quadratic_term
from frechet.workbench.data.generated import sparse_regression as sparse_regression
from frechet.workbench.data.nist import misra1a as misra1a
from frechet.workbench.data.nist import thurber as thurber
from frechet.workbench.data.pictures import camera_row as camera_row
from frechet.workbench.data.pictures import grey_pictures as grey_pictures
from frechet.workbench.data.pictures import photographs as photographs
from frechet.workbench.data.prices import monthly_returns as monthly_returns
from frechet.workbench.data.tables import breast_cancer as breast_cancer
from frechet.workbench.data.tables import diabetes as diabetes
from frechet.workbench.data.tables import digits as digits
from frechet.workbench.data.tables import standardised as standardised
from frechet.workbench.data.tables import wine as wine
from frechet.workbench.data.texts import ALPHABET as ALPHABET
from frechet.workbench.data.texts import python_reference as python_reference
