"""Weights, images and wheels in one verified file, for a host without a network."""

from __future__ import annotations

from skillrun.bundle.archive import Opened, opened
from skillrun.bundle.create import Content, Created, create
from skillrun.bundle.load import Taken, install_command, load
from skillrun.bundle.manifest import Image, Manifest, Weights, Wheel

__all__ = [
    "Content",
    "Created",
    "Image",
    "Manifest",
    "Opened",
    "Taken",
    "Weights",
    "Wheel",
    "create",
    "install_command",
    "load",
    "opened",
]
