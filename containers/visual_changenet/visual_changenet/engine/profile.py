"""Which batches an engine takes."""

from __future__ import annotations

from typing import Any, NamedTuple

from visual_changenet.errors import SpecError
from visual_changenet.runtime import Batch

KEY = "gen_trt_engine"


class Profile(NamedTuple):
    """Pairs at once: fewest, the number that kernels are chosen for, most; 1 <= minimum <= optimum <= maximum."""

    minimum: int
    optimum: int
    maximum: int

    def shapes(self, one: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Shapes of an input at each of the three, from that of one pair without the batch axis."""
        return tuple((count, *one) for count in self)


def profile_of(options: dict[str, Any], graph: Batch, where: str) -> tuple[Profile, list[str]]:
    """The profile of a spec's section ``gen_trt_engine`` for a graph, and notices.

    Args:
        options: valid, so the three numbers do not fall.
        graph: what the ONNX file at ``where`` takes: any number, or exactly one.

    Raises:
        SpecError: ``E_ENGINE_BATCH`` where ``batch_size`` is not that of the graph, ``E_ENGINE_PROFILE`` where the
            three numbers leave out the only batch that the graph takes.
    """
    static, asked = graph.maximum, options["batch_size"]
    if asked == 0 or (asked > 0 and asked != static):
        found = f"a static batch of {static}" if static else "a dynamic batch"
        raise SpecError(
            "E_ENGINE_BATCH",
            f"{KEY}.batch_size is {asked}, but {where} has {found}.",
            f"set {KEY}.batch_size to {static or -1}, or export with export.batch_size={asked or -1}",
        )
    named = {name: options["tensorrt"][f"{name}_batch_size"] for name in ("min", "opt", "max")}
    profile = Profile(*named.values())
    shown = ", ".join(f"{name}_batch_size {value}" for name, value in named.items())
    if static is None:
        return profile, []
    if not profile.minimum <= static <= profile.maximum:
        raise SpecError(
            "E_ENGINE_PROFILE",
            f"{where} takes exactly {static} pairs at once, which is outside of {shown}.",
            f"set all three to {static}, or export with export.batch_size=-1",
        )
    only = Profile(static, static, static)
    return only, [] if profile == only else [f"{where} takes exactly {static} pairs at once; so does the engine."]
