"""Losses of linear models: data in, a differentiable mean loss of the weights out."""

from frechet.losses.linear_model import LinearModel as LinearModel
from frechet.losses.logistic import Logistic as Logistic
from frechet.losses.squared import Squared as Squared
