"""Losses of linear models: data in, a differentiable mean loss of the weights out; and losses of scores."""

from frechet.losses.fenchel_young import Sparsemax as Sparsemax
from frechet.losses.fenchel_young import fenchel_young_loss as fenchel_young_loss
from frechet.losses.hinge import Hinge as Hinge
from frechet.losses.hinge import SmoothedHinge as SmoothedHinge
from frechet.losses.hinge import SquaredHinge as SquaredHinge
from frechet.losses.huber import Huber as Huber
from frechet.losses.linear_model import LinearModel as LinearModel
from frechet.losses.logistic import Logistic as Logistic
from frechet.losses.multinomial import Multinomial as Multinomial
from frechet.losses.poisson import Poisson as Poisson
from frechet.losses.quantile import Quantile as Quantile
from frechet.losses.squared import Squared as Squared
from frechet.losses.stable_max import softmax_collapse_rate as softmax_collapse_rate
from frechet.losses.stable_max import stablemax as stablemax
from frechet.losses.stable_max import stablemax_cross_entropy as stablemax_cross_entropy
