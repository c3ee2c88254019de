"""Results against each other: two of them compared, many of them as a history. Needs no server."""

from eventmark.history.compare import compare_results
from eventmark.history.comparison import (
    ChangeOutcome,
    Comparison,
    FailOn,
    comparison_exit_code,
    encode_comparison,
    fail_on_of,
    judge,
)
from eventmark.history.comparison_section import comparison_section, result_of
from eventmark.history.courses import parse_renames
from eventmark.history.entries import Entry, entry_of
from eventmark.history.jmh import read_jmh, read_jmh_files
from eventmark.history.otava import write_otava
from eventmark.history.runs import KeptRun, KeptRuns, read_branch, read_runs
from eventmark.history.tables import read_table
from eventmark.history.trend_section import trend_result
from eventmark.history.trends import Trends, encode_trends, find_trends, judge_trends, trends_exit_code

__all__ = [
    "ChangeOutcome",
    "Comparison",
    "Entry",
    "FailOn",
    "KeptRun",
    "KeptRuns",
    "Trends",
    "compare_results",
    "comparison_exit_code",
    "comparison_section",
    "encode_comparison",
    "encode_trends",
    "entry_of",
    "fail_on_of",
    "find_trends",
    "judge",
    "judge_trends",
    "parse_renames",
    "read_branch",
    "read_jmh",
    "read_jmh_files",
    "read_runs",
    "read_table",
    "result_of",
    "trend_result",
    "trends_exit_code",
    "write_otava",
]
