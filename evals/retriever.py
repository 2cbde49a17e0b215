"""Which skill a sentence wakes, judged by words alone: a lexical baseline, no model and no agent.

A description says first when to use a skill, then, after "Not for", when not. Words of the query that are in the first
part count for the skill, those of the second against it; a rare word counts more than one that many skills have. A
misspelt word counts as far as it resembles one of the description; a word after "no" or "not" counts nothing. Below a
threshold no skill is chosen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from itertools import pairwise

# A word is taken for a misspelling of another from this resemblance on (0-1, difflib's ratio).
ALIKE = 0.8
_WORD = re.compile(r"[a-z][a-z0-9]+")
# What the user says that is not wanted.
_DENIED = re.compile(r"\b(?:no|not|without)\s+\w+", re.IGNORECASE)
_ENDINGS = ("ings", "ing", "ed", "es", "s", "e")
_SAYS_NOTHING = """
    a an and any are as at be before but by can do does for from give had has have how i if in into is it its just me my
    need no nor not of off on one only or our out over pls please say should show so tell that the their them then there
    these they this to up us use want was we what when where which who why will with without you your
"""
_EMPTY = frozenset(_SAYS_NOTHING.split())


@dataclass(frozen=True)
class Choice:
    """The best skill for a query, or none, and its score (more is better)."""

    skill: str | None
    score: float


class Retriever:
    """Chooses among skills by their descriptions.

    Args:
        descriptions: skill -> description.
        threshold: smallest score of a choice.
    """

    def __init__(self, descriptions: Mapping[str, str], threshold: float = 0.0) -> None:
        self.threshold = threshold
        self._for, self._against = {}, {}
        for skill, text in descriptions.items():
            wanted, _, unwanted = text.partition("Not for")
            self._for[skill], self._against[skill] = stems(wanted), stems(unwanted)
        every = [self._for[skill] | self._against[skill] for skill in self._for]
        words = set().union(*every)
        self._weight = {word: math.log(1 + len(every) / sum(word in one for one in every)) for word in words}

    def score(self, query: str, skill: str) -> float:
        """How well a skill fits, about -10 to 10; words that the description does not have change nothing."""
        words = stems(_DENIED.sub(" ", query))
        return self._worth(words, self._for[skill]) - self._worth(words, self._against[skill] - self._for[skill])

    def choose(self, query: str) -> Choice:
        """The skill with the highest score; the first of equals."""
        best = max(self._for, key=lambda skill: self.score(query, skill))
        score = self.score(query, best)
        return Choice(best if score >= self.threshold else None, score)

    def _worth(self, words: Iterable[str], text: frozenset[str]) -> float:
        return sum(max((_alike(word, known) * self._weight[known] for known in text), default=0.0) for word in words)


def stems(text: str) -> frozenset[str]:
    """The words of a text in lower case, without common endings and without words that say nothing."""
    return frozenset(_stem(word) for word in _WORD.findall(text.lower()) if word not in _EMPTY)


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


@cache
def _alike(word: str, known: str) -> float:
    if word == known:
        return 1.0
    if min(len(word), len(known)) < 5 or word[0] != known[0]:
        return 0.0
    ratio = SequenceMatcher(None, word, known, autojunk=False).ratio()
    return ratio if ratio >= ALIKE else 0.0


def best_threshold(scored: Sequence[tuple[float, bool]]) -> float:
    """The threshold that divides best: (score, whether its choice is right) -> halfway between the two neighbours.

    Right choices above it count one, wrong ones above it minus one; the lowest of equally good ones is taken.
    """
    ordered = sorted({score for score, _ in scored})
    cuts = [ordered[0] - 1.0, *((low + high) / 2 for low, high in pairwise(ordered))]
    return max(cuts, key=lambda cut: sum(1 if good else -1 for score, good in scored if score >= cut))
