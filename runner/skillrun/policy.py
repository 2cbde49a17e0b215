"""Whether a train action searches (AutoML) or trains once, and why.

The explicit flag wins over the request's words, the words over the model's default. Words turn the search off for
this run only; they never change the model's metadata. Text in quotation marks is a mention, not a wish.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["on", "off", "blocked"]


@dataclass(frozen=True)
class Decision:
    """The outcome, its reason in one sentence, and what decided (``flag``, ``text``, ``model`` or ``schema``)."""

    state: State
    reason: str
    decided_by: Literal["flag", "text", "model", "schema"]

    def to_json(self) -> dict[str, str]:
        """For plans and ``--json``."""
        return asdict(self)


_SUBJECT = (
    r"(?:auto[\s-]?ml|hpo|hyper[\s-]?parameter[\s-]*(?:search|tuning|optimi[sz]ation|sweep)s?"
    r"|parameter[\s-]?(?:search|sweep|tuning)|hyperparametersuche)"
)
_OFF = (
    r"(?:(?:turn|switch|shut)(?:ed|ing)?\s+off|disabl(?:e|ed|ing)|deactivat(?:e|ed|ing)|skip(?:ping|ped)?|avoid(?:ing)?"
    r"|omit(?:ting)?|leav(?:e|ing)\s+out|drop(?:ping)?|bypass(?:ing)?|stop(?:ping)?\s+using|exclud(?:e|ing)"
    r"|(?:aus|ab)(?:zu)?(?:ge)?schalt(?:en|et|e)|deaktivier(?:en|t|e)|verzichte\s+auf|d[ée]sactiv(?:e|er|ez|é)"
    r"|[ée]teins|[ée]teindre|coupe[rz]?|desactiv(?:a|ar|e|es|ado)|apag(?:a|ar|ues)|desliga(?:r)?|desligue"
    r"|disattiv(?:a|are|ato)|spegn(?:i|ere)|uitschakelen|uitzetten|关闭|禁用|关掉|無効(?:に)?|オフ)"
)
_LOOSE = r"(?:off\b|aus\b|uit\b|weg\b)"
_WITHOUT = (
    r"(?:no|without|w/o|minus|sans|ohne|sin|sem|senza|zonder|keine?n?|pas\s+d[e'’]|niente|geen"
    r"|不用|不要用?|不使用|别用)"
)
_USE = (
    r"(?:us(?:e|ing)|run(?:ning)?|do(?:ing)?|want|need|start(?:ing)?|launch|try|apply|perform|verwenden?|benutzen?"
    r"|nutzen?|utilise[rz]?|lance[rz]?|us(?:es|ar|are|e)|gebruiken?)"
)
_NOT = (
    r"(?:don['’]?t|do\s+not|doesn['’]?t|must\s*n['’]?t|must\s+not|should\s*n['’]?t|should\s+not|won['’]?t|can\s?not"
    r"|never|not|nicht|niemals|nie|ne|n['’]|pas|jamais|no|nunca|não|nao|non|mai|niet|nooit|without|ohne|sans|rather\s+than"
    r"|instead\s+of|不要|别|不|no\s+need\s+to|refrain\s+from)"
)
_KEEP_ON = (
    r"(?:keep|leave|enable|turn\s+on|switch\s+on|activate|with|mit|avec|con|com|met|an(?:lassen|schalten)|einschalten"
    r"|aktivieren|activ(?:e|er|a|ar)|laisse[rz]?|mant[eé]n|lascia|打开|启用|使用)"
)
_GAP = r"(?:[\s,:/()-]+(?:(?!(?:and|und|et|y|with|mit|avec|con|then)\b)\S+[\s,:/()-]+){0,4}?)?(?:l['’])?"
_TIGHT = r"\s*(?:(?:any|the|an?|more|kind\s+of|l['’]|die|das|el|la|il|o|de|d['’]|um|une?|eine?)\s*){0,3}"

_PLAIN = re.compile(
    r"\b(?:plain|vanilla)(?:\s+old)?\s+(?:train(?:ing)?|run|fit)\b|\beinfaches\s+training\b|\bentra[iî]nement\s+simple\b"
    r"|\bentrenamiento\s+simple\b"
)
_OFF_PATTERNS = [
    re.compile(rf"{_OFF}{_GAP}{_SUBJECT}"),
    re.compile(rf"{_SUBJECT}{_GAP}(?:{_OFF}|{_LOOSE})"),
    re.compile(rf"\b(?:turn|switch|shut|schalte?|zet)\b{_GAP}{_SUBJECT}{_GAP}{_LOOSE}"),
    re.compile(rf"\b(?:have|want|with|put)\s+(?:the\s+)?{_SUBJECT}\s+off\b"),
    re.compile(rf"(?:\b|(?<=[\u4e00-\u9fff])){_WITHOUT}{_TIGHT}{_SUBJECT}"),
    re.compile(
        rf"{_SUBJECT}\s*(?:なし|=\s*(?:false|off|no|0)\b|:\s*(?:false|off|no)\b|is\s+not\s+(?:needed|wanted|necessary))"
    ),
    re.compile(rf"{_SUBJECT}-free\b"),
    _PLAIN,
]
_DONT_USE = re.compile(
    rf"\b{_NOT}\s+(?:\S+\s+){{0,2}}?{_USE}\s+{_TIGHT}{_SUBJECT}|{_SUBJECT}\s+(?:\S+\s+){{0,2}}?(?:nicht|niet)\s+{_USE}"
)
_ON_PATTERN = re.compile(rf"(?:{_KEEP_ON}|\b{_USE}){_TIGHT}{_SUBJECT}|{_SUBJECT}{_GAP}\b(?:on|enabled|an|ein)\b")
_NEGATED_BEFORE = re.compile(rf"(?:^|[\s,(]|(?<=[\u4e00-\u9fff])){_NOT}(?:\s+(?!but\b|sondern\b)\S+){{0,3}}\s*$")
_NEGATED_INSIDE = re.compile(rf"{_SUBJECT}\s+(?:\S+\s+){{0,2}}?(?:not|n['’]?t|never|nicht|niet|pas|non|no)\s")
_QUOTED = re.compile(r"[\"“”«»„`]([^\"“”«»„`]*)[\"“”«»„`]|(?<!\w)'([^']*)'(?!\w)")
_CLAUSES = re.compile(r"[.!;\n]+|(?<=\?)|,?\s+(?:but|however|aber|mais|pero|actually)\s+")
_ASKING = re.compile(
    r"^\s*(?:should|why|what|how|does|do\s+(?:i|we|you)|is|are|when|would\s+it|which|if)\b.*\?\s*$", re.S
)


def wish_in_text(text: str) -> tuple[bool | None, str]:
    """What a request says about the search: False (off), True (on), None (nothing), and the words that say it.

    The last clause that speaks of it wins.
    """
    folded = text.strip().lower().replace("’", "'")
    if len(folded) > 1 and folded[0] in "\"'“«" and folded[-1] in "\"'”»" and not re.search(r"[\"“”«»]", folded[1:-1]):
        folded = folded[1:-1]
    folded = _QUOTED.sub(" … ", folded)
    wish: bool | None = None
    words = ""
    for clause in _CLAUSES.split(folded):
        if not clause or _ASKING.match(clause):
            continue
        found = _clause_wish(clause)
        if found is not None:
            wish, words = found
    return wish, words


def _clause_wish(clause: str) -> tuple[bool, str] | None:
    dont_use = _DONT_USE.search(clause)
    for pattern in _OFF_PATTERNS:
        match = pattern.search(clause)
        if match is None:
            continue
        negated = _NEGATED_BEFORE.search(clause[: match.start()]) or _NEGATED_INSIDE.search(match[0] + " ")
        if negated and not (dont_use and dont_use.start() >= match.start()):
            return True, match[0].strip()
        return False, match[0].strip()
    if dont_use:
        return False, dont_use[0].strip()
    on = _ON_PATTERN.search(clause)
    return (True, on[0].strip()) if on else None


def resolve(
    explicit: bool | None,
    request_text: str = "",
    *,
    automl_enabled: bool = True,
    schema_present: bool = True,
) -> Decision:
    """Decide for one train request.

    Args:
        explicit: ``--automl`` (True), ``--no-automl`` (False), or neither (None).
        request_text: the user's own words, as an agent passes them on.
        automl_enabled: the model's ``automl_enabled``.
        schema_present: the packaged train schema and template exist and parse.

    Returns:
        ``blocked`` where a search is wanted but the schema is missing: train directly and say so.
    """
    if explicit is False:
        return Decision("off", "--no-automl was given for this run", "flag")
    wish, words = wish_in_text(request_text) if explicit is None else (True, "")
    if wish is False:
        return Decision("off", f"the request says {words!r}; this run only", "text")
    if not automl_enabled:
        return Decision("off", "the model is not AutoML-enabled", "model")
    if not schema_present:
        reason = (
            "AutoML is enabled but not runnable: the packaged train schema or template is missing or does not parse"
        )
        return Decision("blocked", reason, "schema")
    if explicit:
        return Decision("on", "--automl was given for this run", "flag")
    if wish:
        return Decision("on", f"the request says {words!r}", "text")
    return Decision("on", "AutoML is this model's default", "model")
