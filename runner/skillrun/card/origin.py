"""Whose weights a training started from, and what is known of their licence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from skillrun.card.family import Member
from skillrun.runfolder import read_json

UNKNOWN = "unknown: ask the owner of the weights"
_STARTS = ("model.backbone.pretrained_backbone_path", "train.pretrained_model_path")


@dataclass(frozen=True)
class Source:
    """Weights of others that are in a model.

    Attributes:
        name: their address, or the file where no address was recorded.
        revision, sha256: as recorded by the plan; empty where it did not.
        hub_id: ``owner/name`` where they come from the model hub, else empty.
    """

    name: str
    revision: str = ""
    sha256: str = ""
    hub_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "licence": UNKNOWN}


def sources(trainings: tuple[Member, ...]) -> list[Source]:
    """Foreign weights behind a model, nearest training first, each once; those of own runs are followed, not listed."""
    found: dict[str, Source] = {}
    for training in trainings:
        for source in _of(training):
            found.setdefault(source.name, source)
    return list(found.values())


def _of(training: Member) -> Iterator[Source]:
    plan = read_json(training.run.plan) or {}
    weights = plan.get("weights") if isinstance(plan.get("weights"), dict) else None
    staged = str((weights or {}).get("path") or "")
    own = str(training.parent.get("checkpoint") or "")
    if weights:
        name = str(weights.get("source") or staged)
        yield Source(name, str(weights.get("revision") or ""), str(weights.get("sha256") or ""), _hub_id(name))
    for key in _STARTS:
        named = training.get(key)
        if isinstance(named, str) and named and named not in (staged, own):
            yield Source(named)


def _hub_id(address: str) -> str:
    parts = urlsplit(address)
    name = parts.path.strip("/").split("/")[0]
    return f"{parts.netloc}/{name}" if parts.scheme == "hf" and parts.netloc and name else ""
