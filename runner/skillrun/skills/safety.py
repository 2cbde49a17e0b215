"""What must not stand in a text that agents obey: secrets, characters nobody sees, hidden words, risky commands."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from skillrun.findings import Finding

GENERATED = re.compile(r"<!-- (?:generated: [\w .,-]+|/generated) -->")
_SECRETS = {
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "an access key of AWS": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "a token of Hugging Face": r"\bhf_[A-Za-z0-9]{30,}\b",
    "a key of NVIDIA": r"\bnvapi-[A-Za-z0-9_-]{20,}",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})",
    "a key of a model provider": r"\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{20,}",
    "a token of Slack": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "a signed web token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
    "a password in an address": r"\b[a-z][a-z0-9+.-]*://[^\s/:@]+:[^\s/@$<{]{6,}@",
    "a literal secret": r"(?i)\b\w*(?:password|passwd|secret|api_?key|token)\w*\s*[=:]\s*[\"']?(?=\S*\d)[\w+/-]{16,}",
}
_RISKS = {
    "pipes a download into an interpreter": r"\b(?:curl|wget)\b[^\n]*\|\s*(?:sudo\s+)?(?:env\s+)?(?:ba|z|da|k)?sh\b",
    "pipes a download into Python": r"\b(?:curl|wget)\b[^\n]*\|\s*(?:sudo\s+)?(?:python\d?|perl|ruby|node)\b",
    "runs what a download says": r"(?:\b(?:ba|z)?sh\s+(?:-c\s+)?|eval\s+|source\s+|\.\s+)[\"']?"
    r"(?:<\(|\$\()\s*(?:curl|wget)\b",
    "removes files from the root or from home": r"\brm\s+(?:-\w+\s+|--\w+\s+)*-\w*[rR]\w*\s+(?:-\w+\s+)*"
    r"[\"']?(?:/(?:bin|boot|etc|home|lib|opt|root|usr|var)?|~|\$HOME|\$\{HOME\})(?:[\"'*/]*)(?:\s|$)",
    "asks for the rights of root": r"(?<![\w-])(?:sudo|doas|pkexec)\s+\S",
    "opens files to everyone": r"\bchmod\s+(?:-\w+\s+)*(?:[0-7]?777|a\+rwx)\b",
    "writes to a disk itself": r"\b(?:dd\b[^\n]*\bof=/dev/|mkfs(?:\.\w+)?\s+/dev/)|>\s*/dev/(?:sd|nvme|vd|hd)",
    "runs encoded text": r"\bbase64\s+(?:-d|-D|--decode)\b[^\n]*\|\s*(?:ba|z)?sh\b",
    "starts processes without end": r":\(\)\s*\{\s*:\s*\|\s*:",
    "gives a container the host": r"\bdocker\b[^\n]*(?:--privileged\b|/var/run/docker\.sock|(?:-v|--volume)[ =]/:)",
    "switches off the check of certificates": r"\bcurl\b[^\n]*\s(?:-k|--insecure)\b|--no-check-certificate"
    r"|--trusted-host\b|GIT_SSL_NO_VERIFY|PYTHONHTTPSVERIFY=0",
    "sends files away": r"\bcurl\b[^\n]*(?:-d|--data(?:-binary)?|-F|--form|-T|--upload-file)[ =]\S*@",
    "reads keys of the user": r"(?:~|\$HOME)/\.(?:ssh|aws|netrc|gnupg|docker/config\.json)\b",
    "skips the questions of an agent": r"--dangerously-[\w-]+",
}
_ORDERS = re.compile(
    r"(?i)\b(?:ignore|disregard|forget)\s+(?:all\s+|any\s+)?(?:of\s+)?(?:the\s+|your\s+)?(?:previous|prior|earlier|above|other)"
    r"\s+(?:instructions|rules|messages|prompts)|\b(?:do not|don't|never)\s+(?:tell|inform|mention\s+(?:it|this)\s+to)"
    r"\s+(?:the\s+)?user\b"
)
_ACTIVE = re.compile(r"(?i)<\s*(?:script|iframe|object|embed|img|style|svg|form)\b|display\s*:\s*none|\bdata:text/html")
_SHOWN_BREAKS = "\t"
_SECRET = {what: re.compile(pattern) for what, pattern in _SECRETS.items()}
_RISK = {what: re.compile(pattern, re.IGNORECASE) for what, pattern in _RISKS.items()}


def check_text(text: str, file: str) -> Iterator[Finding]:
    """Secrets and unseen characters; for any text file of a skill."""
    for number, line in enumerate(text.split("\n"), 1):
        for what, pattern in _SECRET.items():
            if pattern.search(line):
                told = f"{file}, line {number}: this looks like {what}."
                fix = "remove it, revoke it, and name the variable that holds it instead"
                yield Finding("E_SKILL_SECRET", "error", told, file, number, fix)
        for found in _unseen(line):
            told = f"{file}, line {number}: {found}."
            yield Finding("E_SKILL_UNICODE", "error", told, file, number, "type the word anew, in plain letters")


def check_orders(text: str, file: str) -> Iterator[Finding]:
    """Risky commands, hidden words, and orders against the user; for texts that an agent follows."""
    joined = text.replace("\\\n", "  ")  # keeps the length, so that offsets still give lines
    for what, pattern in _RISK.items():
        for found in pattern.finditer(joined):
            line = text.count("\n", 0, found.start()) + 1
            told = f"{file}, line {line}: the command {what}: {found[0].strip()[:60]!r}."
            yield Finding("E_SKILL_SHELL", "error", told, file, line, "write a command that needs no such thing")
    for number, row in enumerate(text.split("\n"), 1):
        bare = GENERATED.sub("", row)
        if "<!--" in bare or _ACTIVE.search(bare):
            told = f"{file}, line {number}: HTML that a reader of the page does not see."
            yield Finding("E_SKILL_HIDDEN", "error", told, file, number, "write it as plain Markdown, or remove it")
        if _ORDERS.search(row):
            told = f"{file}, line {number}: an order against the user or against earlier instructions."
            yield Finding("E_SKILL_ORDER", "error", told, file, number, "remove the sentence")


def _unseen(line: str) -> Iterator[str]:
    """Characters that show nothing or change the order of others, and words of two alphabets."""
    if line.isascii() and line.isprintable():
        return
    for place, char in enumerate(line, 1):
        kind = unicodedata.category(char)
        selector = "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
        blank = kind == "Zs" and char != " "
        if (kind in ("Cc", "Cf", "Co", "Cs", "Zl", "Zp") and char not in _SHOWN_BREAKS) or selector or blank:
            yield f"column {place} holds U+{ord(char):04X}, which nobody sees"
    for word in re.findall(r"\w+", line):
        alphabets = {unicodedata.name(char, "").partition(" ")[0] for char in word if char.isalpha()}
        if len(alphabets & {"LATIN", "CYRILLIC", "GREEK"}) > 1:
            yield f"{word!r} mixes letters that look alike of two alphabets"
