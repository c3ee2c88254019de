"""What users read, and the words that it must not use.

``python -m tools.docs.words SEED`` draws twenty strings, twenty public docstrings and ten findings, for an editor.
"""

from __future__ import annotations

import ast
import random
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "eventmark"
SENTENCE_WORDS_MAX = 25
DRAWN = {"string": 20, "docstring": 20, "finding": 10}
MADE_OF_RESULTS = ("performance.md", "advice.md", "museum.md", "story.md")
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PUBLIC = ("domain", "engine", "testing.py", "pytest_plugin.py", "errors.py")
"""What of the source is documented for others to build on."""

_PROGRAM = r"(?:report|page|program|eventmark|result|header|error|summary|gate)"
BANNED = {
    r"\bnought\b": "zero",
    r"\bwhoever\b": "who it is: a reader, a client, a caller",
    r"\bfound out\b": "caught, detected",
    r"\bwhat came of it\b": "outcome",
    r"\ba limit from\b": "threshold",
    r"\bfound wanting\b": "what could be better",
    r"\bcomes? along\b|\bcame along\b": "bundled",
    r"\bmend (?:it|them)\b": "what to correct, and how",
    r"\bat one go\b": "at once",
    r"\bthe bad way\b": "the faulty way",
    r"\bso many\b": "the number, or: too many",
    r"\bas bad\b": "slower, with the ratio",
    r"\bwhat limited it: none\b": "no bottleneck found",
    r"\bsomebody's\b": "whose it is",
    r"\btruth\b": "accuracy",
    rf"\b{_PROGRAM} knows\b": "has, keeps",
    r"\b(?:says|tells)\b": "shows, names, states, lists, means: only people say and tell",
    r"\b(?:is|are|be) told\b": "is named, listed, refused, undecided",
    r"\bdear(?:er|est)\b": "costs more, most",
    r"(?:^|[:;,.] )see that\b": "check that",
    r"\bmatters and more\b": "the smallest that matters",
}
"""Patterns that no user reads, each with what to write instead."""

_SQL = re.compile(
    r"^\W*(?:select|insert into|update \S+ set|delete from|with (?:recursive )?\w+ (?:\([^)]*\) )?as|begin;|"
    r"create (?:unique |temp )?(?:table|index|schema|extension|function|trigger|view|role|policy|sequence|database)|"
    r"(?:alter|drop|truncate|lock) (?:table|index|schema|function|trigger|system|sequence|role|database|type)|"
    r"set (?:local |session )?\w+ (?:=|to)|copy \S+ (?:\(|from|to)|grant \w+ (?:on|to)|revoke|explain \(|vacuum \()\b",
    re.I,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A text that people read. ``kind`` is string, docstring, finding, page, decision or test (its name)."""

    kind: str
    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {' '.join(self.text.split())}"


def all_words() -> list[Words]:
    """Strings, docstrings and findings of the source, the pages of the documentation, decisions, and names of tests."""
    modules = (one for path in sorted(SOURCE.rglob("*.py")) for one in _of_module(path))
    tests = (one for path in sorted((ROOT / "tests").rglob("test_*.py")) for one in _names_of_tests(path))
    return [
        *modules,
        *(one for path in pages() for one in _of_page(path)),
        *(one for path in decisions() for one in _of_page(path, kind="decision")),
        *tests,
    ]


def pages() -> list[Path]:
    """Pages written by hand, and the report's. Figures quote results, in the words of the day they were taken."""
    docs = (path for path in sorted((ROOT / "docs").glob("*.md")) if path.name not in MADE_OF_RESULTS)
    templates = sorted((SOURCE / "report" / "templates").glob("*.j2"))
    return [*(ROOT / name for name in TOP), *docs, *templates]


def decisions() -> list[Path]:
    return sorted((ROOT / "docs" / "adr").glob("*.md"))


def banned(text: str) -> list[str]:
    """What of the text no user should read, with what to write instead."""
    flat = " ".join(text.split())
    return [
        f"{match[0]!r}: write {instead}"
        for pattern, instead in BANNED.items()
        if (match := re.search(pattern, flat, re.IGNORECASE))
    ]


def long_sentences(page: str) -> list[str]:
    """Sentences of a page's prose with more than ``SENTENCE_WORDS_MAX`` words; tables and code are not prose."""
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^(?:\||#|!\[).*$", "", prose, flags=re.MULTILINE)
    prose = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "code", prose))
    paragraphs = re.split(r"\n\s*\n|\n(?=- )", prose)
    sentences = (one for text in paragraphs for one in re.split(r"(?<=[.!?:;])\s+", " ".join(text.split())))
    return [one for one in sentences if len(re.findall(r"\w[\w'-]*", one)) > SENTENCE_WORDS_MAX]


def drawn(words: Sequence[Words], seed: int) -> list[Words]:
    """A sample of each kind; the same seed draws the same of the same texts."""
    random_source = random.Random(seed)
    sample = []
    for kind, count in DRAWN.items():
        of_kind = [one for one in words if one.kind == kind]
        sample += random_source.sample(of_kind, min(count, len(of_kind)))
    return sample


def _of_page(path: Path, *, kind: str = "page") -> Iterator[Words]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            yield Words(kind=kind, path=path, line=number, text=line)


def _names_of_tests(path: Path) -> Iterator[Words]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            text = node.name.removeprefix("test_").replace("_", " ")
            yield Words(kind="test", path=path, line=node.lineno, text=text)


def _of_module(path: Path) -> Iterator[Words]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    findings: set[int] = set()
    for node in nodes:
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
            texts = [text for part in node.keywords if (text := _text(part.value))]
            findings |= {id(child) for part in node.keywords for child in ast.walk(part.value)}
            if texts:
                yield Words(kind="finding", path=path, line=node.lineno, text=" | ".join(texts))
        if docstring := _public_docstring(path, node):
            yield Words(kind="docstring", path=path, line=getattr(node, "lineno", 1), text=docstring)
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    yield from _strings(path, nodes, findings | docstrings)


def _strings(path: Path, nodes: Sequence[ast.AST], skipped: set[int]) -> Iterator[Words]:
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(child) for child in ast.walk(node) if child is not node}
    for node in nodes:
        if (
            isinstance(node, ast.expr)
            and id(node) not in skipped
            and (text := _text(node))
            and _is_read(text)
        ):
            yield Words(kind="string", path=path, line=node.lineno, text=text)


def _is_read(text: str) -> bool:
    """Whether it is a text of some words, and no SQL."""
    return len(re.findall(r"[A-Za-z]{2,} ", text)) >= 3 and not _SQL.match(text)


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{…}" for part in node.values)
    return ""


def _public_docstring(path: Path, node: ast.AST) -> str | None:
    if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    public = path.relative_to(SOURCE).parts[0] in PUBLIC and not node.name.startswith("_")
    return ast.get_docstring(node) if public else None


if __name__ == "__main__":
    for one in drawn(all_words(), int(sys.argv[1]) if len(sys.argv) > 1 else 1):
        print(f"{one.kind:9} {one}")  # noqa: T201
