"""What the papers promise, as code that can fail: one module a family, one function a claim.

A claim computes both sides, compares with a reference that does not go through the code under test, and takes
its tolerance from the mathematics:

```python
from frechet.workbench.claims import Evidence, claim


@claim("implicit-diff", "the derivative of ridge regression equals its closed form")
def ridge() -> Evidence:
    ...
    return Evidence.at_most(1e-8, error)
```

Claims are found by walking this package, never listed.
"""

from frechet.workbench.claims.evidence import Evidence as Evidence
from frechet.workbench.claims.registry import Claim as Claim
from frechet.workbench.claims.registry import Verdict as Verdict
from frechet.workbench.claims.registry import claim as claim
from frechet.workbench.claims.registry import claims as claims
from frechet.workbench.claims.registry import verify as verify
