"""What a worker writes down of each operation, and the memory it takes for that."""

import tracemalloc

import numpy as np
import pytest

from eventmark.loadgen.records import FAILED, SUCCEEDED, Recorder, Rows

OPERATIONS = 50_000


@pytest.mark.parametrize("expected", [0, 10, 9_000])
def test_rows_come_back_as_they_were_written(expected: int) -> None:
    rows = Rows(3, expected)
    written = np.random.default_rng(1).integers(-(2**62), 2**62, (10_000, 3))
    for row in written.tolist():
        rows.add(*row)
    assert len(rows) == 10_000
    assert np.array_equal(rows.columns(), written.T)
    assert np.array_equal(rows.columns(9_990), written[9_990:].T)
    assert rows.columns(10_000).shape == (3, 0)


def test_writing_expected_operations_down_takes_no_memory() -> None:
    recorder = Recorder(2, OPERATIONS)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(OPERATIONS):
            recorder.add(number % 2, SUCCEEDED, number, number + 1, number + 9, 0, 2)
            recorder.pacing_ns.add(number)
        after, _ = tracemalloc.get_traced_memory()
        recorder.add(0, FAILED, 1, 2, 3, 0)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < OPERATIONS  # not one byte an operation
    assert grown - after > 10_000  # one that was not expected takes room for many
    assert len(recorder.samples) == OPERATIONS + 1
