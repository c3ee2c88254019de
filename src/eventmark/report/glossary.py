"""What terms of a report mean, shown where they stand: under the pointer, or when the keyboard is on them.

docs/GLOSSARY.md has the same words.
"""

from __future__ import annotations

from markupsafe import Markup, escape

TERMS = {
    "p50": "half of the calls took no longer",
    "p95": "95 of 100 calls took no longer",
    "p99": "99 of 100 calls took no longer",
    "p99.9": "999 of 1000 calls took no longer",
    "quantile interval": "where a quantile lies, with 95% confidence",
    "target": "the latency a quantile of an operation must stay below",
    "baseline": "the same work done by the field's own tool: pgbench, psql, a driver, a library",
    "cold, warm": "with the pages outside, or inside, shared buffers",
    "fork": "a fresh process that measures one operation",
    "horizon": "the oldest transaction still running; below it nothing can appear any more",
    "profile": "how long and how often is measured: quick, standard or full",
    "corpus": "the events seeded for a test; the same plan and seed make the same corpus",
}

_SHOWN_AS = {
    "target, 95% interval": "quantile interval",
    "baselines": "baseline",
    "cold → warm p50": "cold, warm",
    "forks: p50, p95, samples, warm-up": "fork",
    "Corpus": "corpus",
}
"""Texts of a page that hold a term, and the term."""


def explained(text: str) -> str | Markup:
    """``text``, with what it means where it is a term or holds one."""
    name = _SHOWN_AS.get(text, text)
    if name not in TERMS:
        return text
    return Markup(
        '<span class="term" tabindex="0">{}<span class="tip" role="tooltip">{}: {}</span></span>'
    ).format(escape(text), name, TERMS[name])
