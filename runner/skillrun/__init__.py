"""skillrun: an agent skill bank for inspection models, schema-driven specs, and the runner behind it."""

__version__ = "0.1.0"
