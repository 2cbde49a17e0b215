"""``skillrun data check``: what a data set holds and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skillrun.cli.options import Json
from skillrun.cli.output import Output

if TYPE_CHECKING:
    from skillrun.data.report import DatasetReport


def check(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="Data set folder, or one that holds train/ and eval/.")],
    image_ext: Annotated[
        str, typer.Option("--image-ext", help="Extension to expect, e.g. .png (default: what is there).")
    ] = "",
    num_classes: Annotated[int, typer.Option("--num-classes", min=2, max=255, help="Classes of segment masks.")] = 2,
    label_transform: Annotated[
        str, typer.Option("--label-transform", help="norm (masks of 0 and 255, or 0 and 1) or None (class indices).")
    ] = "norm",
    data_name: Annotated[str, typer.Option("--data-name", help="LandSCD for masks in its colours.")] = "",
    json: Json = False,
) -> None:
    """Counts, classes, sizes, extensions, missing and unreadable files, with row numbers. Exit 7 on an error."""
    from skillrun.data.check import check_dataset, mask_rule

    masks = mask_rule(num_classes, label_transform, data_name)
    report = check_dataset(path, image_ext=image_ext or None, masks=masks)
    Output(json).data(report.to_json(), "\n".join(_report_lines(report)))
    if not report.ok:
        raise typer.Exit(7)


def _report_lines(report: DatasetReport, name: str = "") -> Iterator[str]:
    """Counts first, then findings with place and fix."""
    shown = name or str(report.path)
    for part, inside in report.parts.items():
        yield from _report_lines(inside, part)
    if not report.parts:
        yield f"{shown}  {report.kind}, {report.rows} rows, {report.images} image files"
        for title, counts in (("labels", report.labels), ("sizes", report.sizes), ("extensions", report.extensions)):
            if counts:
                yield f"  {title:<11} " + ", ".join(f"{key} {count}" for key, count in counts.most_common(12))
        yield f"  files       missing {report.missing}, unreadable {report.unreadable}, hidden {report.hidden}"
        for finding in report.findings:
            yield f"  {finding.severity}[{finding.code}] {finding.message}" + (
                f"  fix: {finding.fix}" * bool(finding.fix)
            )
    if not name:
        yield (
            "ok" if report.ok else f"not usable: {sum(n for code, n in report.totals.items() if code[0] == 'E')} errors"
        )
