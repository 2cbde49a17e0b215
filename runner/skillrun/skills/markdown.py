"""The few things that matter in a skill's Markdown: fenced blocks, prose, links, and the commands in blocks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

SHELLS = ("bash", "sh", "shell", "console")
_LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)[^)]*\)")
_MENTION = re.compile(r"`((?:references|schemas|scripts|assets)/[\w./-]+\.\w+)`")
_CODE = re.compile(r"`[^`]*`")
_PAUSE = frozenset({"|", "||", "&&", ";", "&"})


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its lines, and the line of the file of the first of them (1-based)."""

    language: str
    line: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Link:
    """A link or a mention of a file in backticks: its target, its line in the file, and the text of that line."""

    target: str
    line: int
    text: str
    image: bool = False


@dataclass(frozen=True)
class Page:
    """A Markdown text divided into prose (line number, text) and blocks; ``unclosed`` is the line of an open fence."""

    prose: tuple[tuple[int, str], ...]
    blocks: tuple[Block, ...]
    unclosed: int | None

    def links(self) -> Iterator[Link]:
        """Links of the prose, then files that are mentioned in backticks."""
        for number, text in self.prose:
            plain = _CODE.sub("", text)
            yield from (Link(found[2], number, text, bool(found[1])) for found in _LINK.finditer(plain))
            yield from (Link(found[1], number, text) for found in _MENTION.finditer(text))

    def commands(self) -> Iterator[tuple[int, str]]:
        """(line, command) of every shell block; continued lines are joined, comments left out."""
        for block in self.blocks:
            if block.language in SHELLS:
                yield from _commands(block)


def read_page(text: str, first: int = 1) -> Page:
    """Divide a text whose first line is line ``first`` of its file."""
    prose: list[tuple[int, str]] = []
    blocks: list[Block] = []
    fence, language, start, inside = "", "", 0, list[str]()
    for number, line in enumerate(text.split("\n"), first):
        bare = line.strip()
        if fence:
            if bare == fence:
                blocks.append(Block(language, start + 1, tuple(inside)))
                fence = ""
            else:
                inside.append(line)
        elif bare.startswith(("```", "~~~")):
            fence = bare[: len(bare) - len(bare.lstrip(bare[0]))]
            language, start, inside = bare.removeprefix(fence).strip().lower(), number, []
        else:
            prose.append((number, line))
    return Page(tuple(prose), tuple(blocks), start if fence else None)


def words_of(command: str) -> list[list[str]]:
    """The simple commands of a line, each as its words, without comments and ``NAME=value`` before the program.

    Raises:
        ValueError: a quote is not closed.
    """
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if word in _PAUSE:
            found.append([])
        elif found[-1] or not re.fullmatch(r"[A-Za-z_]\w*=.*", word):
            found[-1].append(word)
    return [words for words in found if words]


def _commands(block: Block) -> Iterator[tuple[int, str]]:
    joined, start = "", 0
    for number, line in enumerate(block.lines, block.line):
        start = start if joined else number
        if line.rstrip().endswith("\\"):
            joined += line.rstrip()[:-1] + " "
            continue
        command, joined = (joined + line).strip().removeprefix("$ "), ""
        if command and not command.startswith("#"):
            yield start, command
    if joined.strip():
        yield start, joined.strip()
