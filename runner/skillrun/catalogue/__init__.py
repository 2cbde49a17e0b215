"""What every code of an error or a warning means, why it happens and what mends it."""

from skillrun.catalogue.entries import PAGE, Entry, Family, entries, families
from skillrun.catalogue.search import explain

__all__ = ["PAGE", "Entry", "Family", "entries", "explain", "families"]
