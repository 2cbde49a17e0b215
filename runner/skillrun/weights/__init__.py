"""What a file of weights is, told by its header alone; no tensor is ever loaded here."""

from skillrun.weights.header import Header, Tensor, read_header
from skillrun.weights.identify import BACKBONES, Weights, fitting_types, identify

__all__ = ["BACKBONES", "Header", "Tensor", "Weights", "fitting_types", "identify", "read_header"]
