"""What an evaluation says in the words of inspection: outcomes, escape rate, overkill, and the margin they call for."""

from skillrun.inspection.evaluations import evaluation_of
from skillrun.inspection.outcomes import Outcome, Outcomes, read_outcomes
from skillrun.inspection.rates import Rate, needed_to_prove
from skillrun.inspection.rules import Rule, parse_rule, parse_share
from skillrun.inspection.threshold import Threshold, calibrate, read_threshold, write_threshold

__all__ = [
    "Outcome",
    "Outcomes",
    "Rate",
    "Rule",
    "Threshold",
    "calibrate",
    "evaluation_of",
    "needed_to_prove",
    "parse_rule",
    "parse_share",
    "read_outcomes",
    "read_threshold",
    "write_threshold",
]
