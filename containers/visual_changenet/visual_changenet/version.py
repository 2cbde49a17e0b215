"""The version of this package; in its image nothing else knows it. A test compares it with pyproject.toml."""

VERSION = "0.1.0"
