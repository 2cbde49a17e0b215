"""``skillrun data check``: what a data set holds and what is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from skillrun.cli.check import finding_lines, write_sarif
from skillrun.cli.options import Json
from skillrun.cli.output import Output

if TYPE_CHECKING:
    from skillrun.data.report import DatasetReport
    from skillrun.errors import UsageError


def check(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Data set folders, or one that holds train/ and eval/."),
    ],
    image_ext: Annotated[
        str, typer.Option("--image-ext", help="Extension to expect, e.g. .png (default: what is there).")
    ] = "",
    num_classes: Annotated[int, typer.Option("--num-classes", min=2, max=255, help="Classes of segment masks.")] = 2,
    label_transform: Annotated[
        str, typer.Option("--label-transform", help="norm (masks of 0 and 255, or 0 and 1) or None (class indices).")
    ] = "norm",
    data_name: Annotated[str, typer.Option("--data-name", help="LandSCD for masks in its colours.")] = "",
    sarif: Annotated[
        str, typer.Option("--sarif", metavar="FILE|-", help="Write the findings as SARIF 2.1.0; - for stdout.")
    ] = "",
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one page with counts, pictures and findings.")
    ] = None,
    json: Json = False,
) -> None:
    """Counts, sizes, broken files, leaks between splits, shifted pairs, with row numbers. Exit 7 on an error."""
    from skillrun.data.check import check_dataset, mask_rule
    from skillrun.errors import UsageError

    if json and sarif == "-":
        raise UsageError("E_OPTION_CONFLICT", "--json and --sarif - both write to stdout.", "--sarif FILE")
    if html is not None and (html.is_dir() or not html.absolute().parent.is_dir()):
        raise _no_page(html, "it is a folder" if html.is_dir() else f"{html.parent} is no folder")
    masks, output = mask_rule(num_classes, label_transform, data_name), Output(json)
    # Packed images must outlive the check: the page shows them.
    with TemporaryDirectory(prefix="skillrun-check-") as unpacked, _bar(output) as progress:
        report = check_dataset(paths, image_ext=image_ext or None, masks=masks, cache_root=unpacked, progress=progress)
        if html is not None:
            _write_page(report, html, output)
    if sarif:
        write_sarif(report.findings, sarif, output)
    if sarif != "-":
        page = {"page": str(html)} if html else {}
        output.data({**report.to_json(), **page}, "\n".join(_report_lines(report)))
    if not report.ok:
        raise typer.Exit(7)


def _write_page(report: DatasetReport, place: Path, output: Output) -> None:
    from skillrun.report.dataset import dataset_page
    from skillrun.runfolder import write_atomic

    try:
        # Names that are no text become question marks.
        write_atomic(place, dataset_page(report).encode("utf-8", errors="replace").decode("utf-8"))
    except OSError as error:
        raise _no_page(place, error.strerror or str(error)) from error
    output.say(f"page written to {place}; open it in a browser, or send it: it needs nothing else")


def _no_page(place: Path, why: str) -> UsageError:
    from skillrun.errors import UsageError

    return UsageError("E_PAGE_FILE", f"--html {place}: {why}.", "--html data.html")


@contextmanager
def _bar(output: Output) -> Iterator[Callable[[int, int], None]]:
    """A progress callback: a bar on a terminal, silence elsewhere."""
    if not sys.stderr.isatty() or output.as_json:
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading images", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _report_lines(report: DatasetReport) -> Iterator[str]:
    """Counts first, then findings with place and fix."""
    yield from _count_lines(report, str(report.path))
    yield from finding_lines(report.findings)
    hidden = sum(report.totals.values()) - len(report.findings)
    if hidden:
        yield f"and {hidden} more of the same codes"
    errors = sum(count for code, count in report.totals.items() if code.startswith("E_"))
    yield "ok" if report.ok else f"not usable: {errors} errors"


def _count_lines(report: DatasetReport, name: str) -> Iterator[str]:
    for part, inside in report.parts.items():
        yield from _count_lines(inside, part)
    if not report.parts:
        yield f"{name}  {report.kind}, {report.rows} rows, {report.images} image files"
        for title, counts in (("labels", report.labels), ("sizes", report.sizes), ("extensions", report.extensions)):
            if counts:
                yield f"  {title:<11} " + ", ".join(f"{key} {count}" for key, count in counts.most_common(12))
        yield f"  files       missing {report.missing}, unreadable {report.unreadable}, hidden {report.hidden}"
        for what, missing in report.unpaired.items():
            yield f"  {'unpaired':<11} {missing.count} {what}"
    for what, share in report.sampled.items():
        yield f"  {what:<11} {share}"
