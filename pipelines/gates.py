"""Whether a candidate becomes the champion: a pure decision from numbers, with its reason in words."""

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Candidate", "Champion", "Decision", "Margins", "decide"]


@dataclass(frozen=True)
class Margins:
    """Of FVE and gain; the section promote of params.yaml says what each allows."""

    pca: float = 0.005
    gain: float = 0.005
    worse: float = 0.01
    better: float = 0.02
    variant: float | None = None


@dataclass(frozen=True)
class Candidate:
    """What is known of the candidate alone, on held-out blocks. fve, gain, pca_fve: one number a level.

    fault: why the registered model can't be used ("" if it loads and gives the trained network's CVs).
    verdicts: sentences that speak against its order, such as "CV2 explains more than CV1".
    """

    version: str
    variant: str
    fve: tuple[float, ...]
    gain: tuple[float, ...]
    pca_fve: tuple[float, ...]
    fault: str = ""
    verdicts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Champion:
    """The champion and the candidate on the same frames, in one metric. fve, candidate_fve: over the levels that both have.

    not_comparable: why there are no such numbers ("" if there are).
    """

    version: str
    variant: str
    fve: tuple[float, ...] = ()
    candidate_fve: tuple[float, ...] = ()
    not_comparable: str = ""


@dataclass(frozen=True)
class Decision:
    """promote: whether the candidate becomes the champion. reason: why, or why not, in one line."""

    promote: bool
    reason: str


def decide(candidate: Candidate, champion: Champion | None, margins: Margins) -> Decision:
    """Promote a candidate that is sound alone and, where there is a champion, no worse at any level and better at one.

    A number that is not a number speaks against the candidate.
    """
    objections = list(_alone(candidate, margins))
    if champion is None:
        praise = "the first champion"
    else:
        objections += _beside(champion, margins, candidate.variant)
        praise = _praise(champion) if not objections else ""
    return Decision(not objections, "; ".join(objections) or praise)


def _alone(candidate: Candidate, margins: Margins) -> Iterator[str]:
    if candidate.fault:
        yield candidate.fault
    if not len(candidate.fve) == len(candidate.gain) == len(candidate.pca_fve) > 0:
        yield "its evaluation is not whole"
        return
    for k, (fve, pca) in enumerate(zip(candidate.fve, candidate.pca_fve, strict=True), 1):
        if not fve >= pca - margins.pca:
            yield f"level {k} explains {fve:.3f}, PCA {pca:.3f} (allowed: {margins.pca:g} below)"
    for k, gain in enumerate(candidate.gain, 1):
        if not gain >= -margins.gain:
            yield f"CV{k} has a gain of {gain:.3f} (allowed: {-margins.gain:g} or more)"
    yield from candidate.verdicts


def _beside(champion: Champion, margins: Margins, variant: str) -> Iterator[str]:
    who = f"the champion (version {champion.version}, {champion.variant})"
    if champion.not_comparable:
        yield f"not comparable with {who}: {champion.not_comparable}; a person may decide (hae promote)"
        return
    differences = _differences(champion)
    below = [k for k, difference in enumerate(differences, 1) if not difference >= -margins.worse]
    for k in below:
        yield (f"level {k} explains {champion.candidate_fve[k - 1]:.3f}, {who} {champion.fve[k - 1]:.3f} on the same test blocks "
               f"(allowed: {margins.worse:g} below)")
    changes = variant != champion.variant and margins.variant is not None
    wanted = margins.variant if changes else margins.better
    if not below and not max(differences, default=0.0) >= wanted:
        yield (f"no level is above {who} by {wanted:g}" + (", which a change of variant needs" if changes else "")
               + f" (best: {max(differences, default=0.0):+.4f})")


def _praise(champion: Champion) -> str:
    differences = _differences(champion)
    k = differences.index(max(differences)) + 1
    return (f"level {k} explains {champion.candidate_fve[k - 1]:.3f}, version {champion.version} ({champion.variant}) "
            f"{champion.fve[k - 1]:.3f} on the same test blocks")


def _differences(champion: Champion) -> list[float]:
    return [ours - theirs for ours, theirs in zip(champion.candidate_fve, champion.fve, strict=True)]
