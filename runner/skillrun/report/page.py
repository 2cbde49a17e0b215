"""The page: templates, style and script of this package put together into one file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from skillrun.report.charts import courses, trade
from skillrun.report.content import Content
from skillrun.report.words import FILTERS, height

_PACKAGE = "skillrun.report"


def render(found: Content) -> str:
    """The report as HTML; whatever users typed is escaped."""
    from markupsafe import Markup

    numbers = found.numbers
    measured, learned = numbers.get("classify"), numbers.get("training")
    plots = {kind: Markup(trade(measured, kind)) for kind in ("roc", "pr")} if measured else {}
    curves = (
        {}
        if not learned
        else {
            name: Markup(courses(learned["epochs"], lines, name, learned["best_epoch"]))
            for name, lines in (
                ("loss", learned["loss"]),
                ("score", learned["score"]),
                ("lr", {"learning rate": learned["lr"]}),
            )
        }
    )
    study = [Markup(picture) for picture in found.study_pictures]
    live = {key: measured[key] for key in ("sweep", "defects", "good", "margin", "histogram")} if measured else None
    shown = {"gallery": found.gallery, "plots": plots, "curves": curves, "study_pictures": study, "live": live}
    return render_template("page.html.j2", numbers, **shown)


def render_template(name: str, numbers: dict[str, Any], **more: Any) -> str:
    """One of the two pages. Scripts run by their digest only, so that no text of a user can become one."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loader = PackageLoader(_PACKAGE, "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(FILTERS)
    source = {part: loader.get_source(environment, part)[0] for part in ("report.css", "report.js")}
    script = source["report.js"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    inlined = {"style": Markup(source["report.css"]), "script": Markup(script), "script_digest": digest}
    return environment.get_template(name).render(r=numbers, heights=height, **inlined, **more)
