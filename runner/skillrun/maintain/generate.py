"""Schemas, templates, manifest and tables of the whole bank, and the catalogue of codes: pure functions of sources."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from skillrun.bank import load_yaml
from skillrun.maintain.catalogue import catalogue_files, check_catalogue
from skillrun.maintain.contract import check_contracts
from skillrun.maintain.difference import Difference, compare
from skillrun.maintain.evals import check_evals, eval_files
from skillrun.maintain.plugins import manifests
from skillrun.maintain.schema import DIALECT, GENERATOR_VERSION, build_schema, dump
from skillrun.maintain.skills import check_skills, make_links, skill_texts
from skillrun.maintain.source import Source, load_source
from skillrun.maintain.template import build_tables, build_template, template_name


def generate(root: Path) -> dict[Path, bytes]:
    """All generated files of the bank at ``root``: path relative to ``root`` -> content.

    Same sources, same bytes: neither the process nor the working folder has a say. Nothing is written.

    Raises:
        NotFoundError: a ``config_class`` can not be loaded.
    """
    files: dict[Path, bytes] = {}
    for contract in sorted((root / "references").glob("*/skill_info.yaml")):
        info = load_yaml(contract)
        files |= _model_files(contract.parent.name, info, load_source(info["config_class"]))
    files |= catalogue_files(root, files) | manifests(root)
    return files | skill_texts(root, files) | eval_files(root)


def _model_files(model: str, info: dict[str, Any], source: Source) -> dict[Path, bytes]:
    schemas, references = Path("schemas") / model, Path("references") / model
    files: dict[Path, bytes] = {}
    rows: dict[str, Any] = {}
    for action in info["actions"]:
        schema = build_schema(source, model, action)
        schema_path = schemas / f"{action}.schema.json"
        template_path = references / template_name(source, action)
        files[schema_path] = (dump(schema) + "\n").encode()
        files[template_path] = build_template(source, model, action).encode()
        rows[action] = _manifest_row(source, action, schema, files, schema_path, template_path)
    manifest = {
        "schema_version": 1,
        "model": model,
        "network_arch": info["network_arch"],
        "automl_enabled": info["automl_enabled"],
        "dialect": DIALECT,
        "generator": f"skillrun.maintain/{GENERATOR_VERSION}",
        "config_class": info["config_class"],
        "config_sha256": source.digest,
        "failures": {},
        "actions": rows,
    }
    files[schemas / "manifest.json"] = (dump(manifest) + "\n").encode()
    files[references / "parameters.md"] = build_tables(source, model).encode()
    return files


def _manifest_row(
    source: Source, action: str, schema: dict[str, Any], files: dict[Path, bytes], path: Path, template: Path
) -> dict[str, Any]:
    chosen = source.actions[action]
    return {
        "path": path.name,
        "sha256": hashlib.sha256(files[path]).hexdigest(),
        "spec_template": template.name,
        "spec_template_sha256": hashlib.sha256(files[template]).hexdigest(),
        "task": chosen.task,
        "schema_action": chosen.command,
        "container": "deploy" if chosen.deploy else "train",
        "automl_default_parameters": schema["automl_default_parameters"],
        "automl_disabled_parameters": schema["automl_disabled_parameters"],
        "popular": schema["popular"],
    }


def write(root: Path) -> list[Path]:
    """Write what differs, each file atomically, and return the paths written (relative to ``root``)."""
    written = []
    for path, content in generate(root).items():
        target = root / path
        if target.is_file() and target.read_bytes() == content:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        draft.write_bytes(content)
        draft.replace(target)
        written.append(path)
    return [*written, *make_links(root)]


def check(root: Path) -> list[Difference]:
    """How the files on disk differ from what the sources give; empty means up to date.

    Schemas are compared by meaning first (keys, defaults, bounds, choices). A generated file that no source
    asks for, and a contradiction in a contract, are reported as well.
    """
    found: list[Difference] = []
    fresh = generate(root)
    for path, content in fresh.items():
        found += compare(path, root / path, content)
    for pattern in ("schemas/*/*.json", "references/*/spec_template_*.yaml"):
        for stale in sorted(root.glob(pattern)):
            relative = stale.relative_to(root)
            if relative not in fresh:
                found.append(Difference(relative, "", "stale", "no source asks for this file; delete it"))
    return [
        *check_contracts(root),
        *check_catalogue(root, fresh),
        *check_skills(root),
        *check_evals(root, fresh),
        *found,
    ]


def report(differences: list[Difference]) -> str:
    """The differences as JSON, for a tool or a continuous integration log."""
    return json.dumps([item.to_json() for item in differences], ensure_ascii=False, indent=1)
