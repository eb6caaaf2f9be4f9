"""Risk measures: how the outcomes of a stage's openings become one number, and one cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cobre.errors import ValidationError

__all__ = ["CVaR", "Expectation", "RiskMeasure"]

FloatArray = NDArray[np.float64]


class RiskMeasure(Protocol):
    """A coherent risk measure, given by the worst-case weights of its dual representation."""

    def adjust(self, probability: FloatArray, cost: FloatArray) -> FloatArray:
        """Weights (N,), non-negative and summing to 1, for outcomes of ``cost`` (N,) to be minimised.

        The measure's value is ``weights @ cost``; the same weights average the subgradients into a valid cut.
        ``probability`` (N,) is left as it is.
        """

    def describe(self) -> dict[str, Any]:
        """Plain values that identify the measure in manifests and hashes."""


@dataclass(frozen=True)
class Expectation:
    """The mean."""

    def adjust(self, probability: FloatArray, cost: FloatArray) -> FloatArray:
        return probability

    def describe(self) -> dict[str, Any]:
        return {"measure": "expectation"}


@dataclass(frozen=True)
class CVaR:
    """``(1 - lambda) E + lambda CVaR_alpha``: the mean mixed with the mean of the worst ``alpha`` share.

    The weights solve Rockafellar and Uryasev's dual (Optimization of conditional value-at-risk, 2000):
    each outcome may carry at most ``(1 - lambda) p + lambda p / alpha``; the dearest are filled first, equal
    costs in the order of their index, so that the weights do not depend on how a sort breaks ties.

    alpha: share of the worst outcomes, in (0, 1]; 1 is the mean.
    lambda_: weight of the tail, in [0, 1]; 0 is the mean.
    Raises ValidationError (OutOfRange) outside those ranges.
    """

    alpha: float
    lambda_: float

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha <= 1.0 or not 0.0 <= self.lambda_ <= 1.0:
            raise ValidationError(
                f"CVaR needs alpha in (0, 1] and lambda in [0, 1], not alpha={self.alpha}, lambda={self.lambda_}",
                kind="OutOfRange",
            )

    def adjust(self, probability: FloatArray, cost: FloatArray) -> FloatArray:
        weights = (1.0 - self.lambda_) * probability
        left = self.lambda_
        for i in np.argsort(-cost, kind="stable"):
            take = min(left, self.lambda_ * probability[i] / self.alpha)
            weights[i] += take
            left -= take
            if left <= 0.0:
                break
        return weights

    def describe(self) -> dict[str, Any]:
        return {"measure": "cvar", "alpha": self.alpha, "lambda": self.lambda_}
