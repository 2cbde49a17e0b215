"""A checkpoint's network, computed by torch, behind the interface of a scorer."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from visual_changenet.actions.opening import open_model
from visual_changenet.device import autocast
from visual_changenet.models import SegmentNetwork
from visual_changenet.runtime.decision import Floats
from visual_changenet.session import Session


class NetworkScorer:
    """See ``Scorer``; with the mixed precision that ``train.precision`` asks for."""

    def __init__(self, session: Session) -> None:
        self.model, self.device = open_model(session)
        self.spec = session.spec

    def scores(self, test: Floats, golden: Floats) -> Floats:
        """See ``Scorer.scores``."""
        assert not isinstance(self.model, SegmentNetwork)
        with torch.inference_mode(), autocast(self.spec, self.device):
            scores = self.model.score(self.model(self._there(test), self._there(golden)))
            return np.asarray(scores.float().cpu().numpy())

    def maps(self, golden: Floats, test: Floats, *, average: bool) -> Floats:
        """See ``Scorer.maps``."""
        assert isinstance(self.model, SegmentNetwork)
        with torch.inference_mode(), autocast(self.spec, self.device):
            maps = [part.float() for part in self.model(self._there(golden), self._there(test), final_only=not average)]
            size = maps[-1].shape[-2:]
            mean = torch.stack([F.interpolate(part, size=size, mode="nearest") for part in maps]).mean(dim=0)
            return np.asarray(mean.cpu().numpy())

    def _there(self, images: Floats) -> Tensor:
        return torch.from_numpy(images).to(self.device, non_blocking=True)

    def metrics(self) -> dict[str, float]:
        """None: a GPU's steps would have to be waited for to be timed."""
        return {}


def open_network(session: Session) -> NetworkScorer:
    """The network of ``<action>.checkpoint``; see ``open_model``."""
    return NetworkScorer(session)
