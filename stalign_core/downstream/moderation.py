"""Moderated t statistics: variances of few donors, steadied by those of all genes (Smyth 2004).

With three donors a gene's own variance has two degrees of freedom; the empirical Bayes estimate of limma adds those
that the spread of variances over all genes is worth. A gene whose donors differ far more than those of other genes, as
one that a single donor expresses, keeps its own variance and degrees alone: else it would pass for steady (the concern
of Phipson et al. 2016, whose robust estimate weighs such genes by rank; here they are told apart by an F test).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_LARGEST_DEGREES: Final = 1e8
"""Prior degrees of freedom from which the variances count as one."""

_OUTLIERS: Final = 0.05
"""False discovery rate of genes that borrow nothing because their donors differ too much."""


@dataclass(frozen=True)
class VariancePrior:
    """Scaled inverse chi-square distribution of variances: its degrees of freedom and its scale."""

    degrees: float
    variance: float


@dataclass(frozen=True)
class ModeratedTest:
    """Mean difference over the donors, moderated t, two-sided p; each (n_genes,)."""

    mean: Values
    t: Values
    p: Values


def moderated_t(differences: Values) -> ModeratedTest:
    """Test whether each gene's mean difference over the donors is 0.

    Parameters
    ----------
    differences
        (n_donors, n_genes) one paired difference per donor, at least 2 donors.

    Returns
    -------
    ModeratedTest
        A gene whose differences are all 0 has t = 0 and p = 1.
    """
    from scipy import stats

    n_donors = len(differences)
    if n_donors < 2:
        raise ValueError(f"{n_donors} donors have no variance")
    mean = differences.mean(axis=0)
    variance = differences.var(axis=0, ddof=1)
    degrees = n_donors - 1
    prior = fit_prior(variance, degrees)
    borrowed = np.where(_stands_out(variance, degrees, prior), 0.0, prior.degrees)
    posterior = (borrowed * prior.variance + degrees * variance) / (borrowed + degrees)
    error = np.sqrt(posterior / n_donors)
    t = np.divide(mean, error, out=np.zeros_like(mean), where=error > 0)
    # Pooled over genes there are no more degrees of freedom than their variances have together.
    total = np.minimum(borrowed + degrees, float(degrees * len(variance)))
    return ModeratedTest(mean, t, np.asarray(2 * stats.t.sf(np.abs(t), total)))


def fit_prior(variance: Values, degrees: int) -> VariancePrior:
    """Fit the distribution that the genes' true variances come from, by the moments of their logs (Smyth 2004, 6.2).

    Parameters
    ----------
    variance
        (n_genes,) sample variances; zeros are left out.
    degrees
        Degrees of freedom of each.
    """
    from scipy.special import digamma, polygamma

    positive = variance[variance > 0]
    if len(positive) < 2:
        return VariancePrior(0.0, 0.0)
    logs = np.log(positive) - digamma(degrees / 2) + np.log(degrees / 2)
    center = float(logs.mean())
    excess = float(logs.var(ddof=1)) - float(polygamma(1, degrees / 2))
    if excess <= 0:
        return VariancePrior(_LARGEST_DEGREES, float(np.exp(center)))
    prior_degrees = 2 * _inverse_trigamma(excess)
    scale = np.exp(center + digamma(prior_degrees / 2) - np.log(prior_degrees / 2))
    return VariancePrior(prior_degrees, float(scale))


def _stands_out(variance: Values, degrees: int, prior: VariancePrior) -> NDArray[np.bool_]:
    """Whether each gene's variance is too large for the prior, at a false discovery rate of `_OUTLIERS`."""
    from scipy import stats

    if prior.variance <= 0:
        return np.zeros(len(variance), dtype=bool)
    p = stats.f.sf(variance / prior.variance, degrees, prior.degrees)
    return np.asarray(stats.false_discovery_control(p) <= _OUTLIERS)


def _inverse_trigamma(value: float) -> float:
    """The x > 0 whose trigamma is `value`; trigamma falls from infinity to 0."""
    from scipy.optimize import brentq
    from scipy.special import polygamma

    lowest, highest = 1e-8, _LARGEST_DEGREES / 2
    if value <= polygamma(1, highest):
        return highest
    return float(brentq(lambda x: float(polygamma(1, x)) - value, lowest, highest, xtol=1e-12, rtol=1e-12))
