"""Manifests at the root of a checkout: agents can be pointed at the repository, a marketplace of one plugin."""

from __future__ import annotations

from pathlib import Path

from skillrun.maintain.raised import packages
from skillrun.skills.plugin import MARKETPLACE, identity, marketplace, plugin_files


def manifests(root: Path) -> dict[Path, bytes]:
    """``marketplace.json``, the plugin's manifests and ``.mcp.json``: path relative to ``root`` -> content.

    Nothing where ``root`` is no checkout: an installed bank is packaged by `skillrun skills package`.
    """
    if not packages(root) or not (root / "pyproject.toml").is_file():
        return {}
    of = identity(root)
    return {MARKETPLACE: marketplace(of, "./"), **plugin_files(of)}
