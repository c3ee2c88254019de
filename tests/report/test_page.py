"""The page: complete, escaped, within its size, the worst first, and whole where the result is not."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from eventmark.report import numbers
from eventmark.report.glossary import TERMS
from eventmark.report.html import PLANS_MAX, render_html, script_json
from eventmark.report.summary import next_step, verdict_sentence
from eventmark.results.results import Finding, RunResult, Section, Verdict

VOID = {"meta", "br", "path", "circle", "use", "link", "input", "img", "hr", "col"}


class Elements(HTMLParser):
    """The page's elements and text; what is opened and not closed is kept in ``open``."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub("[ \n]+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def elements(page: str) -> Elements:
    return Elements(page)


def test_every_element_is_closed_and_none_is_of_the_results_making(elements: Elements) -> None:
    assert elements.open == []
    assert sum(tag == "script" for tag, _ in elements.seen) == 3
    assert not [attrs for _, attrs in elements.seen if any(name.startswith("on") for name in attrs)]


def test_every_verdict_and_number_of_every_operation_is_there(result: RunResult, elements: Elements) -> None:
    for one in result.operations.values():
        latency = one.latency_ms
        shown = [
            numbers.milliseconds(value)
            for value in (latency.p50, latency.p95, latency.p99, latency.p999, latency.max)
        ]
        shown += [one.verdict.value, numbers.interval(one.interval_ms["p95"]), numbers.whole(one.samples)]
        shown += [numbers.distance(floor) for floor in one.floors]
        for text in shown:
            assert text in elements.text


def test_every_finding_plan_setting_and_reason_is_there(result: RunResult, elements: Elements) -> None:
    assert result.corpus is not None
    findings = [*result.corpus.audit, *result.environment.fitness]
    findings += [finding for plan in result.plans for finding in plan.findings]
    expected = [text for one in findings for text in (one.name, one.observed, one.expected, one.remedy)]
    expected += [
        text for plan in result.plans for text in (plan.statement, plan.condition, plan.expected_index)
    ]
    expected += [
        *result.environment.server.settings,
        *result.environment.server.tuning.values(),
        *result.skipped,
    ]
    expected += [result.run_id, result.corpus.checksum, numbers.whole(result.corpus.events)]
    for text in expected:
        assert text in elements.text


def test_what_acts_unseen_is_shown_as_a_replacement(page: str) -> None:
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", markup)
    assert "\ufffd[31m" in page


def test_the_broken_plan_comes_first_and_open(page: str) -> None:
    plans = page[page.index('id="plans"') :]
    first, second = re.findall(r'<details class="plan"[^>]*>', plans)
    assert first.endswith(" open>")
    assert " open" not in second
    assert plans.index("largest tenant, custom plan") < plans.index("start of the log, generic plan")


def test_a_verdict_is_shown_by_word_and_shape_not_by_colour_alone(elements: Elements) -> None:
    marks = [
        attrs
        for tag, attrs in elements.seen
        if tag == "span" and "verdict" in (attrs.get("class") or "").split()
    ]
    icons = {attrs["href"] for tag, attrs in elements.seen if tag == "use"}
    assert len(marks) > 5
    assert icons == {"#icon-MET", "#icon-BROKEN", "#icon-INCONCLUSIVE"}


def test_tables_have_headers_with_a_scope_and_charts_have_a_description(elements: Elements) -> None:
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in elements.seen if tag == "th")
    charts = [attrs for tag, attrs in elements.seen if (attrs.get("id") or "").startswith("chart-")]
    assert all(attrs.get("role") == "img" and attrs.get("aria-label") for attrs in charts)
    assert {"header", "nav", "main", "footer", "h1"} <= {tag for tag, _ in elements.seen}


def test_terms_are_explained_on_the_page_by_the_words_of_the_glossary(elements: Elements) -> None:
    glossary = (Path(__file__).parents[2] / "docs" / "GLOSSARY.md").read_text(encoding="utf-8")
    for name, meaning in TERMS.items():
        assert f"| {name} | {meaning} |" in glossary
    terms = [attributes for _, attributes in elements.seen if attributes.get("class") == "term"]
    assert terms and all(one["tabindex"] == "0" for one in terms), "the keyboard reaches them"
    assert f"p95: {TERMS['p95']}" in elements.text


def test_the_first_screen_names_the_next_step(result: RunResult) -> None:
    fault = Finding(name="index", verdict=Verdict.BROKEN, observed="a", expected="b", remedy="create it")
    unsure = msgspec.structs.replace(fault, name="cache", verdict=Verdict.INCONCLUSIVE)
    section = Section(name="s", title="S", findings=[unsure, fault])
    broken = msgspec.structs.replace(result, operations={}, plans=[], series=[], sections=[section])
    assert next_step(broken) == "index: create it"
    assert "<b>Next:</b> index: create it" in render_html(broken)
    assert next_step(msgspec.structs.replace(broken, sections=[])) == ""


def test_ids_are_unique(elements: Elements) -> None:
    ids = [attrs["id"] for _, attrs in elements.seen if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_a_damaged_histogram_leaves_out_its_chart_and_reports_it(result: RunResult) -> None:
    damaged = {
        name: msgspec.structs.replace(one, histogram="AAAA") for name, one in result.operations.items()
    }
    text = Elements(render_html(msgspec.structs.replace(result, operations=damaged, series=[]))).text
    assert "its histogram cannot be read" in text
    assert numbers.milliseconds(result.operations["append_events[1]"].latency_ms.p95) in text


def test_a_reused_corpus_without_growth_is_reported(result: RunResult) -> None:
    assert result.corpus is not None
    corpus = msgspec.structs.replace(
        result.corpus, growth=None, reused=True, events_per_s=0.0, floors=[], scatter_pages_per_load=None
    )
    text = Elements(
        render_html(msgspec.structs.replace(result, corpus=corpus, operations={}, series=[]))
    ).text
    assert "there already" in text
    assert "growth was not recorded" in text


def test_a_page_of_very_many_plans_and_long_series_stays_small(result: RunResult) -> None:
    at_s, values = [n / 10 for n in range(30_000)], [float(n % 97) for n in range(30_000)]
    long = [msgspec.structs.replace(one, at_s=at_s, values=values) for one in result.series]
    many = msgspec.structs.replace(result, plans=result.plans * 300, series=long)
    page = render_html(many)
    assert len(page.encode("utf-8", "replace")) < 6_000_000
    assert f"{600 - PLANS_MAX} more" in Elements(page).text


def test_json_in_a_script_cannot_end_it() -> None:
    text = script_json({"</script>": "<!--", "amp": "&", "line": "\u2028"})
    assert not re.search("[<>&\u2028]", text)
    assert msgspec.json.decode(str(text)) == {"</script>": "<!--", "amp": "&", "line": "\u2028"}


def test_the_sentence_shows_what_is_broken_and_what_is_open(result: RunResult) -> None:
    assert verdict_sentence(result) == (
        "1 of 4 operations fails or misses its target; 1 of 2 plans does more work than it should; "
        "the evidence does not decide 1 operation."
    )
    met = Finding(name="x", verdict=Verdict.MET, observed="", expected="")
    good = msgspec.structs.replace(
        result,
        verdict=Verdict.MET,
        operations={},
        plans=[msgspec.structs.replace(result.plans[1], findings=[met])],
    )
    assert verdict_sentence(good) == "1 plan does no more work than it should; 1 corpus check passed."
    nothing = msgspec.structs.replace(result, operations={}, plans=[], corpus=None)
    assert verdict_sentence(nothing) == "Nothing was measured."
