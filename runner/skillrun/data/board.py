"""Layouts of imaginary printed circuit boards: components, octilinear routes, vias, pours and print.

A layout is geometry only. Lengths are in board pixels; ``unit`` is the number of pixels that one design unit
takes, so that a trace of 5 units keeps its look at every picture size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Node = tuple[int, int]

# Distance of neighbouring grid nodes in units.
PITCH = 12.0
DIRECTIONS: tuple[Node, ...] = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))


@dataclass(frozen=True)
class Pad:
    """A land at ``node``: a rectangle of ``width`` x ``height`` units, or round around a ``hole``."""

    node: Node
    width: float
    height: float
    hole: float = 0.0
    exposed: bool = True


@dataclass(frozen=True)
class Step:
    """One straight piece of a trace, from a grid node to one of its eight neighbours; ``width`` in units."""

    start: Node
    end: Node
    net: int
    width: float


@dataclass(frozen=True)
class Print:
    """Silkscreen: a rectangle (two corners, in nodes) or a text at its lower left corner."""

    start: tuple[float, float]
    end: tuple[float, float]
    text: str = ""


@dataclass
class Layout:
    """A board of ``nodes`` x ``nodes`` grid points."""

    nodes: int
    unit: float
    pads: list[Pad] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    prints: list[Print] = field(default_factory=list)
    pours: list[tuple[Node, Node]] = field(default_factory=list)
    nets: dict[Node, int] = field(default_factory=dict)

    @property
    def extent(self) -> int:
        """Side of the board in pixels."""
        return round(self.nodes * PITCH * self.unit)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel position of a grid position."""
        step = PITCH * self.unit
        return (x + 0.5) * step, (y + 0.5) * step


def draw_layout(rng: np.random.Generator, *, nodes: int, unit: float) -> Layout:
    """A random layout; the same generator state gives the same board."""
    router = _Router(rng, Layout(nodes, unit))
    router.place_components()
    router.route_bundles()
    router.route_pads()
    router.pour_copper()
    return router.layout


class _Router:
    """Places components on free nodes and walks traces over what is left; nets never touch."""

    def __init__(self, rng: np.random.Generator, layout: Layout) -> None:
        self._rng = rng
        self.layout = layout
        self._reserved: set[Node] = set()
        self._diagonals: set[Node] = set()
        self._next_net = 0

    def place_components(self) -> None:
        """Chips with two rows of lands, two-land passives and drilled headers."""
        makers = (self._place_chip, self._place_passive, self._place_passive, self._place_header)
        for number in range(self.layout.nodes**2 // 26):
            makers[int(self._rng.integers(len(makers)))](number)

    def route_bundles(self) -> None:
        """Buses: three to five parallel traces that turn together."""
        for _ in range(max(3, self.layout.nodes // 3)):
            count = int(self._rng.integers(3, 6))
            x, y = self._random_node(), self._random_node()
            across = bool(self._rng.integers(2))
            starts = [(x, y + i) if across else (x + i, y) for i in range(count)]
            heading = int(self._rng.choice([0, 4] if across else [2, 6]))
            width = float(self._rng.uniform(4.2, 5.4))
            if all(self._free(node) for node in starts):
                self._walk(starts, heading, width, length=int(self._rng.integers(5, self.layout.nodes)))

    def route_pads(self) -> None:
        """A trace from most lands, and loose ones between vias where there is room."""
        lands = [pad.node for pad in self.layout.pads if pad.exposed]
        for index in self._rng.permutation(len(lands)):
            self._route_one(lands[index])
        for _ in range(self.layout.nodes**2 // 8):
            node = (self._random_node(), self._random_node())
            if self._free(node):
                self._claim(node)
                if self._route_one(node):
                    self._via(node)

    def pour_copper(self) -> None:
        """Up to two rectangles of ground copper; the painter keeps the clearance."""
        span = self.layout.nodes
        for _ in range(int(self._rng.integers(0, 3))):
            x, y = (int(v) for v in self._rng.integers(-1, span - 4, size=2))
            width, height = (int(v) for v in self._rng.integers(4, max(5, span // 2), size=2))
            self.layout.pours.append(((x, y), (x + width, y + height)))

    def _route_one(self, start: Node) -> bool:
        width = float(self._rng.choice([4.6, 5.2, 6.8], p=[0.45, 0.35, 0.2]))
        for heading in self._rng.permutation(8)[:4]:
            length = int(self._rng.integers(3, 14))
            if self._walk([start], int(heading), width, length=length, claimed=True):
                return True
        return False

    def _walk(self, nodes: list[Node], heading: int, width: float, *, length: int, claimed: bool = False) -> bool:
        """Walk all ``nodes`` in step; returns whether at least one step was made. Ends in vias."""
        if not claimed:
            for node in nodes:
                self._claim(node)
        made = 0
        for _ in range(length):
            choices = [heading] if self._rng.random() < 0.7 else [heading + 1, heading - 1]
            options = [turn % 8 for turn in [*choices, heading, heading + 1, heading - 1]]
            taken = next((turn for turn in options if self._all_can_step(nodes, turn)), None)
            if taken is None:
                break
            nodes, heading = [self._step(node, taken, width) for node in nodes], taken
            made += 1
        if made:
            for node in nodes:
                self._via(node)
        return made > 0

    def _all_can_step(self, nodes: list[Node], turn: int) -> bool:
        dx, dy = DIRECTIONS[turn]
        for x, y in nodes:
            crossing = bool(dx and dy) and (min(x, x + dx), min(y, y + dy)) in self._diagonals
            if crossing or not self._free((x + dx, y + dy)):
                return False
        return True

    def _step(self, node: Node, turn: int, width: float) -> Node:
        (x, y), (dx, dy) = node, DIRECTIONS[turn]
        target = (x + dx, y + dy)
        if dx and dy:
            self._diagonals.add((min(x, target[0]), min(y, target[1])))
        net = self.layout.nets[node]
        self._claim(target, net)
        self.layout.steps.append(Step(node, target, net, width))
        return target

    def _random_node(self) -> int:
        return int(self._rng.integers(self.layout.nodes))

    def _free(self, node: Node) -> bool:
        inside = all(0 <= value < self.layout.nodes for value in node)
        return inside and node not in self.layout.nets and node not in self._reserved

    def _claim(self, node: Node, net: int | None = None) -> None:
        if net is None:
            net, self._next_net = self._next_net, self._next_net + 1
        self.layout.nets[node] = net

    def _via(self, node: Node) -> None:
        self.layout.pads.append(Pad(node, 8.0, 8.0, hole=3.6, exposed=bool(self._rng.random() < 0.35)))

    def _reserve(self, x: int, y: int, width: int, height: int) -> bool:
        area = [(x + i, y + j) for i in range(width) for j in range(height)]
        if not all(self._free(node) for node in area):
            return False
        self._reserved.update(area)
        return True

    def _land(self, node: Node, width: float, height: float, hole: float = 0.0) -> None:
        self._claim(node)
        self.layout.pads.append(Pad(node, width, height, hole))

    def _place_chip(self, number: int) -> None:
        pins = int(self._rng.integers(3, 6))
        x, y = self._random_node(), self._random_node()
        if not self._reserve(x, y, pins, 3):
            return
        for pin in range(pins):
            self._land((x + pin, y), 6.5, 9.5)
            self._land((x + pin, y + 2), 6.5, 9.5)
        self.layout.prints.append(Print((x - 0.3, y + 0.6), (x + pins - 0.7, y + 1.4)))
        self.layout.prints.append(Print((x + 0.1, y + 1.22), (0, 0), f"U{number % 100}"))

    def _place_passive(self, number: int) -> None:
        x, y = self._random_node(), self._random_node()
        upright = bool(self._rng.integers(2))
        across, down = (1, 3) if upright else (3, 1)
        if not self._reserve(x, y, across, down):
            return
        far = (x + across - 1, y + down - 1)
        width, height = (10.5, 8.5) if upright else (8.5, 10.5)
        self._land((x, y), width, height)
        self._land(far, width, height)
        self.layout.prints.append(Print((x - 0.52, y - 0.52), (far[0] + 0.52, far[1] + 0.52)))
        name = f"{'RCL'[int(self._rng.integers(3))]}{number % 100}"
        self.layout.prints.append(
            Print((x + (-0.42 if upright else 0.56), y + (1.2 if upright else 0.2)), (0, 0), name)
        )

    def _place_header(self, _number: int) -> None:
        pins = int(self._rng.integers(2, 6))
        x, y = self._random_node(), self._random_node()
        if not self._reserve(x, y, pins, 1):
            return
        for pin in range(pins):
            self._land((x + pin, y), 9.8, 9.8, hole=4.6)
        self.layout.prints.append(Print((x - 0.5, y - 0.5), (x + pins - 0.5, y + 0.5)))
