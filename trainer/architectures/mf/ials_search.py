"""IalsHyperparameters of iALS that are left open, chosen by NDCG on the validation split.

The penalty and the weight of what was not observed make up for each other in part (Rendle et al.
2022, section 4.3), so first the penalty is searched, from weak to strong, each fit going on from
the one before; then the weight, the penalty moved against it; then what strengths of events are
worth; then the length of vectors. Of many observations, those of some users are enough, for
penalties grow with the number of observations.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from absl import logging

from tfx_recommender.trainer.architectures import observations
from tfx_recommender.trainer.architectures.mf.ials import SideFactors, Solver
from tfx_recommender.trainer.architectures.mf.settings import AlternatingLeastSquares
from tfx_recommender.trainer.fitting.held_out import HeldOut
from tfx_recommender.trainer.fitting.problem import Problem

# What is tried, and what is taken where nothing can be tried.
_PENALTIES, _PENALTY = (0.001, 0.003, 0.01, 0.03, 0.1), 0.01
_ALPHAS, _ALPHA = (0.1, 0.3, 1.0), 0.1
_STRENGTHS = (0.0, 0.5, 1.0)
_SIZES, _SIZE = (16, 32, 64, 128, 256), 64
# A search sees so many observations, or this share of all, whichever is more.
_OBSERVATIONS, _SHARE = 500_000, 0.1
# Sweeps after a step to other hyperparameters, and for vectors of another length.
_SWEEPS, _FIRST_SWEEPS = 2, 5
# Longer vectors have to be better by so much, for they cost more; a worse penalty, worse by so
# much, ends the search for one.
_GAIN, _LOSS = 1.01, 0.97


@dataclasses.dataclass(frozen=True)
class IalsHyperparameters:
    """What a fit takes.

    Attributes:
      size: length of a vector.
      alpha: weight of what was not observed.
      penalty: lambda.
      strength: exponent of the strengths of events.
    """

    size: int
    alpha: float
    penalty: float
    strength: float


def choose(
    config: AlternatingLeastSquares, size: int | None, problem: Problem, seed: int
) -> IalsHyperparameters:
    """What is not given, by validation; without validation rows, what does well on most data.

    Args:
      config: what may be given.
      size: length of a vector, if it is given.
      problem: what to fit.
      seed: of users and first vectors.
    """
    given = IalsHyperparameters(
        size or _SIZE,
        _ALPHA if config.unobserved_weight is None else config.unobserved_weight,
        _PENALTY if config.regularization is None else config.regularization,
        _STRENGTHS[0] if config.strength_exponent is None else config.strength_exponent,
    )
    is_open = (size, config.unobserved_weight, config.regularization, config.strength_exponent)
    if None not in is_open:
        return given
    chosen = _some_users(problem, seed)
    held_out = HeldOut(problem, seed, chosen)
    if not len(held_out):
        return given
    search = _IalsSearch(config, problem, held_out, chosen, seed)
    return search.run(given, size is None)


def _some_users(problem: Problem, seed: int) -> np.ndarray:
    """Which users a search sees, bool [users]."""
    count = np.bincount(problem.train.user, minlength=len(problem.catalogue.users))
    order = np.random.default_rng(seed).permutation(len(count))
    enough = max(_OBSERVATIONS, int(_SHARE * len(problem.train)))
    chosen = np.empty(len(count), bool)
    chosen[order] = np.cumsum(count[order]) - count[order] < enough
    return chosen


@dataclasses.dataclass(frozen=True)
class _Fit:
    """IalsHyperparameters, the vectors fitted with them, and their NDCG."""

    values: IalsHyperparameters
    factors: SideFactors
    ndcg: float


class _IalsSearch:
    def __init__(
        self,
        config: AlternatingLeastSquares,
        problem: Problem,
        held_out: HeldOut,
        chosen: np.ndarray,
        seed: int,
    ) -> None:
        self.config = config
        self.problem, self.held_out, self.chosen, self.seed = problem, held_out, chosen, seed
        self.user = problem.catalogue.users.index
        self.item = problem.catalogue.items.index[:-1]
        self.solver: tuple[float, int, Solver] | None = None

    def run(self, given: IalsHyperparameters, any_size: bool) -> IalsHyperparameters:
        """What is open, one after the other."""
        start = dataclasses.replace(given, size=_SIZES[0]) if any_size else given
        best = self._weight(start)
        if self.config.strength_exponent is None and self._strengths_differ():
            best = self._strength(best)
        return (self._size(best) if any_size else best).values

    def _weight(self, start: IalsHyperparameters) -> _Fit:
        """The weight of what was not observed, each with its penalty."""
        first, *others = [start.alpha]
        if self.config.unobserved_weight is None:
            first, *others = _ALPHAS[1], _ALPHAS[0], _ALPHAS[2]
        any_penalty = self.config.regularization is None
        penalties: tuple[float, ...] = _PENALTIES if any_penalty else (start.penalty,)
        best = self._penalty(dataclasses.replace(start, alpha=first), penalties, None)
        for alpha in others:
            penalties = _beside(best.values, alpha) if any_penalty else (start.penalty,)
            values = dataclasses.replace(best.values, alpha=alpha)
            best = max(best, self._penalty(values, penalties, best.factors), key=_ndcg)
        return best

    def _penalty(
        self, values: IalsHyperparameters, penalties: tuple[float, ...], start: SideFactors | None
    ) -> _Fit:
        """The best of these penalties, ascending."""
        fits: list[_Fit] = []
        for penalty in penalties:
            fits.append(self._fit(dataclasses.replace(values, penalty=penalty), start))
            start = fits[-1].factors
            if fits[-1].ndcg < _LOSS * max(map(_ndcg, fits)):
                break
        return max(fits, key=_ndcg)

    def _strength(self, best: _Fit) -> _Fit:
        for strength in _STRENGTHS[1:]:
            fit = self._fit(dataclasses.replace(best.values, strength=strength), best.factors)
            if fit.ndcg <= best.ndcg:
                break
            best = fit
        return best

    def _size(self, best: _Fit) -> _Fit:
        for size in _SIZES[1:]:
            longer = self._longer(best.values, size)
            if longer.ndcg < _GAIN * best.ndcg:
                break
            best = longer
        return best

    def _longer(self, values: IalsHyperparameters, size: int) -> _Fit:
        """With vectors of that length, which may want a stronger penalty."""
        best = self._fit(dataclasses.replace(values, size=size))
        stronger = [penalty for penalty in _PENALTIES if penalty > values.penalty][:1]
        for penalty in stronger if self.config.regularization is None else ():
            tried = self._fit(dataclasses.replace(best.values, penalty=penalty), best.factors)
            best = max(best, tried, key=_ndcg)
        return best

    def _strengths_differ(self) -> bool:
        strength = self.problem.train.strength
        return strength is not None and bool(np.ptp(strength))

    def _fit(self, values: IalsHyperparameters, start: SideFactors | None = None) -> _Fit:
        if self.solver is None or self.solver[:2] != (values.strength, values.size):
            observed = observations.of(self.problem, values.strength, self.chosen)
            self.solver = values.strength, values.size, Solver(observed, values.size)
        solver = self.solver[2]
        sweeps = _FIRST_SWEEPS if start is None else _SWEEPS
        factors = solver.start(values.size, self.seed) if start is None else start
        for _ in range(sweeps):
            factors = solver.sweep(
                factors, values.alpha, values.penalty, self.config.frequency_exponent
            )
        user, item = factors.user.numpy(), factors.item.numpy()[self.item].T
        ndcg = self.held_out.ndcg(lambda users: user[self.user[users]] @ item)
        logging.info("iALS: %s: NDCG@10 %.4f on validation", values, ndcg)
        return _Fit(values, factors, ndcg)


def _ndcg(fit: _Fit) -> float:
    return fit.ndcg


def _beside(values: IalsHyperparameters, alpha: float) -> tuple[float, ...]:
    """Penalties to try with another weight: that one, and the next against it; ascending."""
    at = _PENALTIES.index(values.penalty)
    if alpha < values.alpha:
        return _PENALTIES[at : at + 2]
    return _PENALTIES[max(0, at - 1) : at + 1]
