"""How often the right skill is woken, and how often a wrong one, by the lexical baseline (`retriever`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from retriever import Choice, Retriever, best_threshold

from skillrun.skills.read import read_skill, skill_folders

FILE = Path(__file__).with_name("triggers.yaml")
Query = Mapping[str, Any]
# Of the part on which descriptions and threshold were settled, as shares.
RIGHT_AT_LEAST, WOKEN_AT_MOST = 0.9, 0.1
# Of the held-out part: what was reached when it was written; less than that is a step back.
HELD_RIGHT_AT_LEAST, HELD_WOKEN_AT_MOST = 0.7, 0.15


@dataclass(frozen=True)
class Part:
    """What came out on one part of the queries.

    Attributes:
        positives: queries that want a skill and are near none else; ``right``: those that woke it.
        near: near misses; ``woken``: those that woke a skill which they did not want.
        abstained: queries that woke none.
        chosen: queries that woke any skill; ``chosen_right``: those that woke the one they wanted.
    """

    name: str
    positives: int
    right: int
    near: int
    woken: int
    abstained: int
    chosen: int
    chosen_right: int
    passed: bool

    @property
    def precision(self) -> float:
        """The share of wakings that were right, 0-1; 1 where nothing was woken."""
        return self.chosen_right / self.chosen if self.chosen else 1.0

    @property
    def recall(self) -> float:
        """The share of positives that woke their skill, 0-1."""
        return self.right / self.positives


def read_queries() -> list[Query]:
    """All queries, in the order of the file."""
    return list(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def descriptions() -> dict[str, str]:
    """What agents are told of the skills of this bank: name -> description."""
    return {skill.name: skill.description for skill in map(read_skill, skill_folders())}


def score_triggers(told: Mapping[str, str]) -> tuple[float, list[Part]]:
    """The threshold, chosen on the first part, and what came out on both.

    Args:
        told: skill -> description.
    """
    queries = read_queries()
    retriever = Retriever(told, threshold=float("-inf"))
    chosen = [(query, retriever.choose(query["query"])) for query in queries]
    fit = [pair for pair in chosen if not pair[0].get("held")]
    held = [pair for pair in chosen if pair[0].get("held")]
    threshold = best_threshold([(choice.score, choice.skill == query["expected_skill"]) for query, choice in fit])
    first = _part("settled on", fit, threshold, RIGHT_AT_LEAST, WOKEN_AT_MOST)
    return threshold, [first, _part("held out", held, threshold, HELD_RIGHT_AT_LEAST, HELD_WOKEN_AT_MOST)]


def _part(name: str, chosen: Sequence[tuple[Query, Choice]], threshold: float, at_least: float, at_most: float) -> Part:
    found = [(query, choice.skill if choice.score >= threshold else None) for query, choice in chosen]
    positives = [(query["expected_skill"], skill) for query, skill in found if "near" not in query]
    near = [(query["expected_skill"], skill) for query, skill in found if "near" in query]
    awake = [(query["expected_skill"], skill) for query, skill in found if skill]
    right = sum(wanted == skill for wanted, skill in positives)
    woken = sum(skill not in (None, wanted) for wanted, skill in near)
    return Part(
        name,
        len(positives),
        right,
        len(near),
        woken,
        abstained=len(found) - len(awake),
        chosen=len(awake),
        chosen_right=sum(wanted == skill for wanted, skill in awake),
        passed=right >= at_least * len(positives) and woken <= at_most * len(near),
    )
