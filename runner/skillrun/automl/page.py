"""The page of a study: one HTML file that loads nothing."""

from __future__ import annotations

from importlib import resources

from skillrun.automl.param import show
from skillrun.automl.pictures import history, parallel_coordinates
from skillrun.automl.result import StudyResult
from skillrun.runfolder import write_atomic


def write_page(result: StudyResult) -> None:
    """``report.html`` in the study's folder."""
    write_atomic(result.folder.page, render(result))


def render(result: StudyResult) -> str:
    """The page as text; whatever users typed is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    settings = result.settings
    usual = [param.key for param in settings.space.params]
    keys = list(dict.fromkeys([*result.importance, *usual]))
    source = resources.files("skillrun.automl").joinpath("report.html.j2").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(source)
    return template.render(
        result=result,
        settings=settings,
        defaults=settings.space.defaults(),
        history=Markup(history(settings, result.rows)),
        lines=Markup(parallel_coordinates(settings, result.rows, keys)),
        number=lambda value: "" if value is None else f"{value:.6g}",
        shown=lambda value: f"{value:.4g}" if isinstance(value, float) else show(value),
    )
