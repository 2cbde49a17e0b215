"""What planning and launching tell while they wait: notes as lines, transfers as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skillrun.cli.transfers import Transfers

if TYPE_CHECKING:
    from skillrun.progress import Progress


class LaunchTalk(Transfers):
    """A `skillrun.backends.Talk` on stderr."""

    def say(self, text: str) -> None:
        """One line of talk."""
        self._output.say(text)

    def fetched(self, what: str, progress: Progress) -> None:
        """How far the transfer of an image, weights or data is."""
        self.show(what, progress)
