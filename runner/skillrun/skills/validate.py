"""One skill folder, judged by all rules at once. Strict: whatever is found is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from skillrun.errors import SkillrunError
from skillrun.findings import Finding
from skillrun.skills.files import check_links, check_reference_links, skill_files
from skillrun.skills.frontmatter import check_frontmatter
from skillrun.skills.markdown import Page, read_page, words_of
from skillrun.skills.read import FILE, Skill, read_skill
from skillrun.skills.safety import check_orders, check_text

BODY_LINES = 300
BODY_TOKENS = 3000
REFERENCE_TOKENS = 10_000
# No tokenizer is at hand everywhere; English text has about four characters a token.
TOKEN_CHARACTERS = 4
PROGRAMS = ("skillrun", "visual_changenet")
_FOLLOWED = frozenset({".md", ".py", ".sh", ".txt"})

# Takes the words of a command, the program first; tells what is wrong with them, or nothing.
Parse = Callable[[Sequence[str]], str]


def tokens(text: str) -> int:
    """How many tokens a text has, roughly."""
    return -(-len(text) // TOKEN_CHARACTERS)


def validate(folder: Path, parse: Parse) -> list[Finding]:
    """Everything that is wrong with the skill in ``folder``; empty means that it can be trusted and followed.

    Args:
        folder: holds ``SKILL.md``.
        parse: reads a command of skillrun as the command line would, without running it.
    """
    found: list[Finding] = []
    files, problems = skill_files(folder)
    found += problems
    try:
        found += _skill(read_skill(folder), parse)
    except SkillrunError as error:
        found.append(Finding(error.code, "error", error.message, str(folder / FILE), fix=error.fix))
    for path in files:
        found += _file(folder, path, parse)
    return sorted(found, key=lambda item: (item.file, item.line or 0, item.code))


def _skill(skill: Skill, parse: Parse) -> Iterator[Finding]:
    file, page = str(skill.folder / FILE), read_page(skill.body, skill.body_line)
    yield from check_frontmatter(skill)
    yield from check_links(skill, page)
    yield from _page(file, page, parse)
    lines, size = skill.body.count("\n"), tokens(skill.body)
    if not skill.body.strip():
        told = f"{file} has no body, so an agent that picks it learns nothing."
        yield Finding("E_SKILL_EMPTY", "error", told, file, fix="write what to do, step by step, below the frontmatter")
    if lines >= BODY_LINES or size >= BODY_TOKENS:
        told = (
            f"{file}: the body has {lines} lines and about {size} tokens; {BODY_LINES} and {BODY_TOKENS} are too many."
        )
        yield Finding("E_SKILL_LENGTH", "error", told, file, fix="move details into references/, with a link")


def _page(file: str, page: Page, parse: Parse) -> Iterator[Finding]:
    """What fenced blocks can have wrong: no end, or a command that the command line would refuse."""
    if page.unclosed:
        told = f"{file}, line {page.unclosed}: the fenced block that begins here has no end."
        yield Finding("E_SKILL_FENCE", "error", told, file, page.unclosed, "close it with a line of ```")
    for line, command in page.commands():
        try:
            wrong = [parse(words) for words in words_of(command) if words[0] in PROGRAMS]
        except ValueError as error:
            wrong = [str(error)]
        for why in filter(None, wrong):
            told = f"{file}, line {line}: {command[:80]!r} would be refused: {why.rstrip('.')}."
            yield Finding("E_SKILL_COMMAND", "error", told, file, line, "correct the command; COMMAND --help shows how")


def _file(folder: Path, path: Path, parse: Parse) -> Iterator[Finding]:
    file = str(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if path.name != FILE:
            why = f"byte {error.start}" if isinstance(error, UnicodeDecodeError) else error.strerror
            told = f"{file} can not be read as UTF-8 text ({why})."
            yield Finding("E_SKILL_FILE", "error", told, file, fix="remove it from the skill's folder")
        return
    yield from check_text(text, file)
    if path.suffix in _FOLLOWED:
        yield from check_orders(text, file)
    if path.suffix != ".md" or path == folder / FILE:
        return
    page = read_page(text)
    yield from _page(file, page, parse)
    if not path.is_symlink():
        yield from check_reference_links(path, page)
    if tokens(text) >= REFERENCE_TOKENS:
        told = f"{file} has about {tokens(text)} tokens; {REFERENCE_TOKENS} are too many to read at once."
        yield Finding("E_SKILL_LENGTH", "error", told, file, fix="divide the file")
