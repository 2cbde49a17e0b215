"""All rules that stand between a request and its run, and what may be waived."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from skillrun.errors import UsageError
from skillrun.overrides import nearest
from skillrun.preflight import host, resume, spec
from skillrun.preflight.data_codes import data_rules
from skillrun.preflight.rule import Rule, registered
from skillrun.preflight.schema_rules import schema_rules

__all__ = ["host", "known", "resume", "rules", "spec", "waivable"]


def rules() -> tuple[Rule, ...]:
    """Records of all rules: of the schemas, of this package, of data and weights; each code once."""
    return tuple(known().values())


@cache
def known() -> Mapping[str, Rule]:
    """The rules by code."""
    return {one.code: one for one in (*schema_rules(), *registered(), *data_rules())}


def waivable(codes: Iterable[str]) -> tuple[str, ...]:
    """The codes of ``--waive``, in capitals, each once.

    Raises:
        UsageError: ``E_WAIVE_UNKNOWN``: no rule has this code; ``E_WAIVE_REFUSED``: what it finds can not work at all.
    """
    wanted = tuple(dict.fromkeys(code.strip().upper() for code in codes))
    for code in wanted:
        if code not in known():
            close = nearest(code, known())
            meant = f"; did you mean {', '.join(close)}?" if close else ""
            raise UsageError(
                "E_WAIVE_UNKNOWN",
                f"no rule has the code {code}{meant}",
                f"--waive {close[0]}" if close else f"leave out --waive {code}",
            )
        if not known()[code].waivable:
            raise UsageError(
                "E_WAIVE_REFUSED",
                f"{code} can not be waived: {known()[code].title[0].lower()}{known()[code].title[1:]}, and no run can "
                "work with that",
                f"leave out --waive {code}, and mend what it finds",
            )
    return wanted
