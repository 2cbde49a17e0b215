"""What an evaluation says in the words of inspection: outcomes, escape rate, overkill."""

from skillrun.inspection.outcomes import Outcome, Outcomes, read_outcomes
from skillrun.inspection.rates import Rate

__all__ = ["Outcome", "Outcomes", "Rate", "read_outcomes"]
