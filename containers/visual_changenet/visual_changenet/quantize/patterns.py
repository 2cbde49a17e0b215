"""Which layers get which number format, from ``quantize.layers`` and ``quantize.skip_names``.

A pattern (``*``, ``?``, ``[abc]``) is compared with the name of a layer in the network, with the name of its node in
an ONNX graph, and with the names of its class. Of several rules that fit a layer the last one counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from visual_changenet.errors import SpecError

DTYPES = ("int8", "fp8_e4m3fn", "fp8_e5m2", "native")
NATIVE = "native"
SHOWN = 5


@dataclass(frozen=True)
class Layer:
    """A part of a network.

    Attributes:
        key: how the caller calls it, unique.
        names: what it is called, the name in the network first. kinds: names of its class and their like.
        fits: whether the chosen library can quantize it.
        touchy: whether it stays in float where the spec names no layers.
    """

    key: str
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    fits: bool
    touchy: bool = False

    def matches(self, pattern: str) -> bool:
        """Whether a pattern means this layer."""
        return any(fnmatchcase(name, pattern) for name in (*self.names, *self.kinds))


def choose_formats(options: Mapping[str, Any], layers: Sequence[Layer], formats: Sequence[str]) -> dict[str, str]:
    """The format of each layer that is quantized, by its key; what stays in float is left out.

    Args:
        options: the section ``quantize``. formats: those that the chosen library writes for weights.

    Raises:
        SpecError: ``E_QUANTIZE_LAYERS`` (a rule can not be read), ``E_QUANTIZE_DTYPE`` (a format that is not
            written), ``E_QUANTIZE_PATTERN`` (a pattern fits nothing), ``E_QUANTIZE_NOTHING`` (nothing is left).
    """
    usable = [layer for layer in layers if layer.fits]
    chosen = {layer.key: "int8" for layer in usable if not layer.touchy}
    if options["layers"]:
        chosen = {}
        for place, rule in enumerate(options["layers"]):
            pattern, dtype = _read(rule, place, formats)
            found = [layer for layer in usable if layer.matches(pattern)]
            if not found:
                raise _unmatched(f"quantize.layers[{place}].module_name", pattern, layers)
            chosen |= {layer.key: dtype for layer in found}
    for place, pattern in enumerate(options["skip_names"]):
        if not any(layer.matches(pattern) for layer in layers):
            raise _unmatched(f"quantize.skip_names[{place}]", pattern, layers)
        chosen |= {layer.key: NATIVE for layer in usable if layer.matches(pattern)}
    chosen = {key: dtype for key, dtype in chosen.items() if dtype != NATIVE}
    if not chosen:
        raise SpecError(
            "E_QUANTIZE_NOTHING",
            "quantize.layers and skip_names leave no layer to quantize.",
            "leave both empty, or correct their patterns",
        )
    return chosen


def _read(rule: Mapping[str, Any], place: int, formats: Sequence[str]) -> tuple[str, str]:
    """Pattern and format of the weights of one rule; without a format it is int8."""
    where = f"quantize.layers[{place}]"
    unknown = sorted(set(rule) - {"module_name", "weights", "activations"})
    pattern, weights = rule.get("module_name"), rule.get("weights") or {}
    activations = rule.get("activations") or {}
    if unknown or not isinstance(pattern, str) or not pattern:
        what = f"has the unknown key {unknown[0]!r}" if unknown else "has no module_name"
        raise SpecError("E_QUANTIZE_LAYERS", f"{where} {what}.", "write {module_name: Linear, weights: {dtype: int8}}")
    for part, found in (("weights", weights), ("activations", activations)):
        if not isinstance(found, Mapping) or set(found) - {"dtype"} or found.get("dtype", "int8") not in DTYPES:
            raise SpecError(
                "E_QUANTIZE_LAYERS",
                f"{where}.{part} is {found!r}.",
                f"write {part}: {{dtype: D}} with D one of {', '.join(DTYPES)}",
            )
    dtype = str(weights.get("dtype", "int8"))
    if dtype not in (*formats, NATIVE):
        raise SpecError(
            "E_QUANTIZE_DTYPE",
            f"{where} asks for weights of {dtype}, but this backend writes {', '.join(formats)}.",
            f"set weights.dtype to {formats[0]}, or choose another quantize.backend",
        )
    return pattern, dtype


def _unmatched(key: str, pattern: str, layers: Sequence[Layer]) -> SpecError:
    others = [layer for layer in layers if not layer.fits and layer.matches(pattern)]
    usable = [layer for layer in layers if layer.fits]
    names = list(dict.fromkeys(layer.names[0] for layer in usable))
    kinds = sorted({kind for layer in usable for kind in layer.kinds})
    if others:
        said, near = f"fits {others[0].names[0]} and the like, which this backend does not quantize", kinds
    else:
        said, near = "fits no layer", get_close_matches(pattern, [*names, *kinds], SHOWN, 0.5) or names[:SHOWN]
    return SpecError(
        "E_QUANTIZE_PATTERN", f"{key} is {pattern!r}, which {said}.", f"take one such as {', '.join(near[:SHOWN])}"
    )
