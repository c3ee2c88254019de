"""Results against each other: two of them compared, many of them as a history. Needs no server."""

from eventmark.history.compare import compare_results
from eventmark.history.comparison import Comparison, FailOn, Outcome, encode_comparison, fail_on_of, judge
from eventmark.history.comparison_section import comparison_section, result_of

__all__ = [
    "Comparison",
    "FailOn",
    "Outcome",
    "compare_results",
    "comparison_section",
    "encode_comparison",
    "fail_on_of",
    "judge",
    "result_of",
]
