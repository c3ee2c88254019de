"""Results against each other: two of them compared, many of them as a history. Needs no server."""

from eventmark.history.compare import compare_results
from eventmark.history.comparison import Comparison, FailOn, Outcome, encode_comparison, fail_on_of, judge
from eventmark.history.comparison_section import comparison_section, result_of
from eventmark.history.entries import Entry, entry_of
from eventmark.history.jmh import read_jmh
from eventmark.history.otava import read_otava, write_otava
from eventmark.history.runs import Run, read_branch, read_runs
from eventmark.history.trend_section import trend_result
from eventmark.history.trends import Trends, encode_trends, find_trends, judge_trends

__all__ = [
    "Comparison",
    "Entry",
    "FailOn",
    "Outcome",
    "Run",
    "Trends",
    "compare_results",
    "comparison_section",
    "encode_comparison",
    "encode_trends",
    "entry_of",
    "fail_on_of",
    "find_trends",
    "judge",
    "judge_trends",
    "read_branch",
    "read_jmh",
    "read_otava",
    "read_runs",
    "result_of",
    "trend_result",
    "write_otava",
]
