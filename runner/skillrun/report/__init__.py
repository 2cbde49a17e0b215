"""What a run achieved, as one HTML page that loads nothing, and the same numbers as JSON.

``subject`` finds what belongs to a run; ``classify``, ``segment``, ``training``, ``models`` and ``reproduce`` turn its
files into numbers; ``gallery`` and ``thumbnails`` make pictures within a budget; ``page`` puts both on paper.
"""

from skillrun.report.compare import compare
from skillrun.report.write import Written, write

__all__ = ["Written", "compare", "write"]
