"""The words of everything users read: none that stops a reader, and short sentences where everybody begins."""

from __future__ import annotations

import ast

import pytest

from tools.docs.words import DRAWN, ROOT, SOURCE, Words, all_words, banned, drawn, long_sentences


@pytest.fixture(scope="module")
def words() -> list[Words]:
    return all_words()


def test_no_text_that_users_read_has_a_banned_word(words: list[Words]) -> None:
    assert {one.kind for one in words} == {"string", "docstring", "finding", "page", "decision", "test"}
    faults = [f"{one}\n    {', '.join(wrong)}" for one in words if (wrong := banned(one.text))]
    assert not faults, "\n".join(faults)


def test_a_banned_word_would_be_noticed() -> None:
    assert banned("An unsafe store is found\nout at the first look.")
    assert banned("The report says so.")
    assert banned("rate: 3 are told apart, see that it runs")
    assert not banned("An unsafe store is usually caught within seconds.")


def test_no_sentence_of_the_readme_is_long() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not long_sentences(readme)
    assert long_sentences("a " * 26 + "b.") and not long_sentences("a " * 24 + "b.")


def test_a_seed_draws_the_same_sample_of_each_kind(words: list[Words]) -> None:
    sample = drawn(words, 7)
    assert sample == drawn(words, 7) != drawn(words, 8)
    assert {kind: sum(one.kind == kind for one in sample) for kind in DRAWN} == DRAWN


def test_no_parameter_or_variable_of_the_source_has_a_name_without_meaning() -> None:
    vague = {"found", "one", "said"}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = getattr(node, "arg", None) if isinstance(node, ast.arg) else getattr(node, "id", None)
            bound = isinstance(node, ast.arg) or isinstance(getattr(node, "ctx", None), ast.Store)
            assert not (bound and name in vague), f"{path}:{node.lineno}: call {name!r} by what it holds"
