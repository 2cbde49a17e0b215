"""The live view of a run on a terminal: a bar of epochs, a bar of steps, and the numbers of now below them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.constrain import Constrain
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from skillrun.cli.progress import Standing

WIDEST = 100


class Screen:
    """Draws a standing again and again until it is stopped, and is gone then; printed lines stay above it."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self._console = Console(stderr=True)
        text = TextColumn("{task.description}", markup=False)
        self._bars = Progress(text, BarColumn(bar_width=None), TaskProgressColumn(), expand=True)
        self._epochs = self._bars.add_task("", total=1.0, visible=False)
        self._steps = self._bars.add_task("starting", total=None)
        self._live = Live(
            console=self._console,
            get_renderable=self._drawn,
            transient=True,
            redirect_stdout=False,
            refresh_per_second=4,
        )

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()

    def stop(self) -> None:
        """Clear the view."""
        self._live.stop()

    def print(self, text: str) -> None:
        """A line that stays."""
        self._console.print(Text(text), soft_wrap=True)

    def _drawn(self) -> Group:
        now = self._standing
        several = now.epochs > 1
        self._bars.update(
            self._epochs, description=f"epoch {now.epoch}/{now.epochs}", completed=now.share, visible=several
        )
        steps = f" {now.step}/{now.steps}" if now.steps else ""
        self._bars.update(self._steps, description=f"{now.phase}{steps}", completed=now.step, total=now.steps or None)
        return Group(Constrain(self._bars, WIDEST), Text("  ".join(now.numbers())))
