"""The README: each measured figure is that of a committed result."""

from __future__ import annotations

from tests.docs.figures import numbers, result
from tools.docs.words import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def paragraph(beginning: str) -> str:
    """With the block that follows it, where it ends with a colon."""
    blocks = README.split("\n\n")
    index = next(index for index, block in enumerate(blocks) if block.startswith(beginning))
    return "\n\n".join(blocks[index : index + 2]) if blocks[index].endswith(":") else blocks[index]


def test_the_capacity_is_the_span_of_all_committed_searches() -> None:
    names = [
        file.name.removesuffix("-postgresql-18.json")
        for file in (ROOT / "docs" / "results").glob("capacity*")
    ]
    rates = [result(name).figures["capacity_operations_per_s"].value for name in names]
    least, most = (round(rate) for rate in (min(rates), max(rates)))
    assert f"confirmed {least} to {most} operations/s" in paragraph(
        "**How much load does it carry?**"
    ).replace("\n", " ")


def test_what_the_control_lost_is_what_it_lost() -> None:
    """Of the hunt that is shown below it."""
    (lost,) = (one.lost for one in result("orderings-200k").orderings if one.ordering == "naive")
    assert f"lost {lost:,} of the events" in paragraph("**Does it lose events?**").replace("\n", " ")


def test_the_advice_shown_is_the_committed_one() -> None:
    shown = README[README.index("| change | appends |") :].split("\n\n")[0].splitlines()[2:]
    (tried,) = (
        table
        for section in result("advice-eaf-v3").sections
        for table in section.tables
        if table.title.startswith("what to do")
    )
    ranked = {
        str(row[1]).replace("all of the following together (8)", "all of the eight"): row
        for row in tried.rows
    }
    for line in shown:
        change, appends, wal, size = (
            cell.strip().replace("`", "").replace("−", "-") for cell in line.strip("|").split("|")
        )
        row = ranked[change.replace("drop ", "drop index ") if change.startswith("drop") else change]
        assert numbers(appends) == [float(f"{value:.3g}") for value in row[2:5]], change
        assert f"WAL {wal}" in row[-1] and f"index size {size}" in row[-1], change
