"""``skillrun data split``, ``align`` and ``fix``: a better copy of a data set."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from skillrun.cli.check import finding_lines
from skillrun.cli.data_talk import Destination, Force, Seed, Source, bar, hint_training
from skillrun.cli.options import Json
from skillrun.cli.output import Output


def split(
    source: Source,
    destination: Destination,
    fraction: Annotated[
        str | None,
        typer.Option(
            "--fraction", help="Sides and shares [train=0.8,eval=0.2; segment: train=0.7,val=0.15,test=0.15]."
        ),
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", help="What stays together: board, object or a column [what the data tell].")
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="Hard links to the pictures instead of copies.")] = False,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
) -> None:
    """Divide a data set anew: no group on two sides, labels spread as far as groups allow. Pictures are copied."""
    from dataclasses import asdict

    from skillrun.data.sides import parse_fractions
    from skillrun.data.split import split_dataset

    shares = parse_fractions(fraction) if fraction is not None else None
    with bar("splitting", Output(json)) as progress:
        summary = split_dataset(
            source, destination, shares=shares, group=group, seed=seed, link=link, force=force, progress=progress
        )
    told = summary.source["split"]
    lines = [str(destination)]
    for side, labels in told["labels"].items():
        counts = ", ".join(f"{label} {count}" for label, count in labels.items())
        lines.append(f"  {side:<6} {sum(labels.values())} samples, {told['groups_of_side'][side]} groups: {counts}")
    Output(json).data({"dataset": asdict(summary)}, "\n".join(lines))
    hint_training(summary, destination, 256, Output(json))


def align(source: Source, destination: Destination, force: Force = False, json: Json = False) -> None:
    """Lay each test picture on its golden, masks with it, in a copy; align.csv there tells how far each was off."""
    from dataclasses import asdict

    from skillrun.data.align import LEFT, REPORT, align_dataset, summary_of

    output = Output(json)
    with bar("aligning", output) as progress:
        found = align_dataset(source, destination, force=force, progress=progress)
    summary, left = summary_of(found), [one for one in found if one.state == LEFT]
    for one in left[:20]:
        output.say(f"left as it is, {one.why}: {one.test}")
    if len(left) > 20:
        output.say(f"and {len(left) - 20} more; all are in {destination / REPORT}")
    if not summary["turns_measured"]:
        output.say('shifts only: turns need OpenCV, pip install "skillrun[local]"')
    shift = summary["shift_px"]
    lines = [
        str(destination),
        f"  pictures  moved {summary['moved']}, close {summary['close']}, left {summary['left']}",
    ]
    if shift["worst_picture"]:
        lines.append(f"  shift     median {shift['median']}, p95 {shift['p95']}, worst {shift['worst']} px")
        lines.append(f"  worst     {shift['worst_picture']}")
    answer = {"destination": str(destination), "summary": summary, "pictures": [asdict(one) for one in found]}
    output.data(answer, "\n".join(lines))
    output.hint(f"skillrun data check {shlex.quote(str(destination))}")


def fix(source: Source, destination: Destination, force: Force = False, json: Json = False) -> None:
    """Mend CSV, lists and file names in a copy; names each change, then what is left. Exit 7 if that is an error."""
    from dataclasses import asdict

    from skillrun.data.mend import fix_dataset

    output = Output(json)
    with bar("mending", output) as progress:
        mended = fix_dataset(source, destination, force=force, progress=progress)
    count = len(mended.changes)
    lines = [f"{destination}  {count} change{'s' if count != 1 else ''}"]
    for change in mended.changes:
        place = change.file if change.line is None else f"{change.file}, line {change.line}"
        lines.append(f"  {place}: {change.what}")
    left = mended.report.findings
    lines += finding_lines(left)
    errors = sum(finding.severity == "error" for finding in left)
    lines.append("ok" if mended.report.ok else f"not usable yet: {errors} error{'s' if errors > 1 else ''} left")
    changes = [asdict(change) for change in mended.changes]
    answer = {"destination": str(destination), "changes": changes, "check": mended.report.to_json()}
    output.data(answer, "\n".join(lines))
    if not mended.report.ok:
        raise typer.Exit(7)
    output.hint(f"skillrun data check {shlex.quote(str(destination))}")
