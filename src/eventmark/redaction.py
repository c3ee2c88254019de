"""Secrets, kept out of all that leaves the process: DSNs by their form, passwords that are known by their text.

A DSN is shown without passwords where its form leaves no doubt which part is one, and else not at all. The
texts of known passwords are registered when a DSN is read; ``mask`` replaces them in streams and files, and
``redact_text`` also removes what DSNs a message quotes.
"""

from __future__ import annotations

import html
import json
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
UNREADABLE = "<unreadable DSN>"
ENCODE_REMEDY = (
    "percent-encode special characters of the password: @ is %40, / is %2F, # is %23; or use PGPASSWORD"
)
WEAK_LENGTH = 4  # what is shorter stands in every text

# What libpq reads from a DSN, and may be shown; a name that is not here may be a piece of a password.
_SHOWN = frozenset(
    "host hostaddr port dbname user service connect_timeout application_name fallback_application_name options "
    "client_encoding keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout sslmode "
    "sslnegotiation sslcompression sslcert sslkey sslcertmode sslrootcert sslcrl sslcrldir sslsni requirepeer "
    "ssl_min_protocol_version ssl_max_protocol_version min_protocol_version max_protocol_version gssencmode "
    "krbsrvname gsslib gssdelegation channel_binding require_auth target_session_attrs load_balance_hosts "
    "replication passfile requiressl ssl".split()
)
_HIDDEN = frozenset(
    "password sslpassword oauth_client_secret scram_client_key scram_server_key sslkeylogfile "
    "oauth_client_id oauth_issuer oauth_scope".split()
)

_SCHEME = re.compile(r"(?i)(?:\bjdbc:)?\b[a-z][a-z0-9+.-]*://")
_DATABASE = re.compile(r"(?i)postgres|jdbc:|sql|maria|mongo|redis|oracle|cockroach")
_PASSWORD_KEY = re.compile(r"(?i)\b\w*(?:password|passwd|passphrase|pwd)\s*=\s*")
_KEYWORD = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'(?=\s|$)|(?!')(?:[^\s\\]|\\.)*)\s*", re.DOTALL)
_BARE = re.compile(r"[^\s:/@=]+:(?!//).+@[\w.\[%-]", re.DOTALL)
_URI = re.compile(r"(?i)(postgres(?:ql)?)://(?:([^@/?#\s]*)@)?([^@/?#\s]*)(/[^@/?#\s]*)?(?:\?([^@#\s]*))?")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]*\]|[^\[\]:]*)(?::(\d{0,5}))?")
_ENCODING = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_WORD_END = re.compile(r"""[\s"'`<>]""")
_EXAMPLE = re.compile(r"postgresql://user:password@host:port/database")

_secrets: set[str] = set()
_public: set[str] = set()
_masks: dict[bool, re.Pattern[str] | None] = {}


def looks_like_dsn(text: str) -> bool:
    """Whether ``text`` may hold a DSN with a password: a database's URI, keywords, or user:password@host."""
    for scheme in _SCHEME.finditer(text):
        rest = text[scheme.end() :]
        if _DATABASE.search(scheme[0]) or re.search(r":[^@]*@", rest) or _PASSWORD_KEY.search(rest):
            return True
    return bool(_PASSWORD_KEY.search(text) or _BARE.search(text))


def is_dsn(text: str) -> bool:
    """Whether ``text``, given where a server is named, stands for a DSN and not for a word such as ``embedded``."""
    return bool(scheme_of(text)) or _KEYWORD.match(text) is not None


def scheme_of(dsn: str) -> str:
    """``postgresql`` of a URI; empty for a DSN of keywords."""
    scheme = _SCHEME.match(dsn)
    return scheme[0].removesuffix("://") if scheme else ""


def unknown_parameter(dsn: str) -> str:
    """The first parameter of a URI that libpq does not know; empty where it may be a piece of a password."""
    parts = _URI.fullmatch(dsn)
    names = [pair.partition("=")[0] for pair in (parts[5] or "").split("&")] if parts else []
    if parts is None or _HIDDEN & {unquote(name) for name in names}:
        return ""
    return next((name for name in names if name not in _SHOWN and re.fullmatch(r"\w+", name)), "")


def has_wrong_port(dsn: str) -> bool:
    """Whether a URI is in doubt for its hosts alone: a port that is none may be a password without its host."""
    parts = _URI.fullmatch(dsn)
    return parts is not None and not all(map(_is_host, parts[3].split(",")))


def redact(dsn: str) -> str:
    """The DSN without its passwords; ``UNREADABLE`` where it is in doubt what of it is one."""
    shown = _shown_uri(dsn) if scheme_of(dsn) else _shown_keywords(dsn)
    return UNREADABLE if shown is None else shown


def redact_text(text: str, *, words: bool = True) -> str:
    """A text without the passwords of the DSNs that it quotes, and without those that are registered.

    ``words`` False leaves registered ones that are ordinary words or numbers, as ``mask`` does.
    """
    text = _replaced(text, words=words)
    if "://" not in text and not _PASSWORD_KEY.search(text):
        return text
    return "\n".join(_redacted_line(line) for line in text.split("\n"))


def mask(text: str) -> str:
    """``text`` of any kind without registered passwords, those excepted that are ordinary words or numbers."""
    return _replaced(text, words=False)


def register(*secrets: str | None, public: tuple[str, ...] = ()) -> None:
    """Mask these from now on. A password that equals a ``public`` text (the user's name) cannot be told from it."""
    _public.update(public)
    _secrets.update(filter(None, secrets))
    _masks.clear()


def registered() -> tuple[str, ...]:
    """What another process of ours has to ``register``."""
    return tuple(sorted(_secrets))


@contextmanager
def guarded_output() -> Iterator[None]:
    """All that is written to standard output and error meanwhile passes ``mask``."""
    streams = sys.stdout, sys.stderr
    guard_output()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def guard_output() -> None:
    """``guarded_output`` for the rest of this process."""
    if sys.stdout is not None:
        sys.stdout = _Guarded(sys.stdout)
    if sys.stderr is not None:
        sys.stderr = _Guarded(sys.stderr)


class _Guarded:
    """A text stream whose text passes ``mask``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(mask(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _shown_uri(dsn: str) -> str | None:
    parts = _URI.fullmatch(dsn)
    if parts is None or _ENCODING.search(dsn) or not dsn.isprintable():
        return None
    scheme, user, hosts, path, query = parts.groups(default="")
    if not all(_is_host(host) for host in hosts.split(",")):
        return None
    pairs = [pair.split("=") for pair in query.split("&")] if query else []
    if not all(len(pair) == 2 and unquote(pair[0]) in _SHOWN | _HIDDEN for pair in pairs):
        return None
    shown = "&".join(f"{unquote(key)}={HIDDEN if unquote(key) in _HIDDEN else value}" for key, value in pairs)
    name = user.partition(":")[0]
    return f"{scheme}://{name}{'@' if name else ''}{hosts}{path}{'?' if shown else ''}{shown}"


def _is_host(host: str) -> bool:
    match = _HOST.fullmatch(host)
    return match is not None and (not match[1] or 1 <= int(match[1]) <= 65535)


def _shown_keywords(dsn: str) -> str | None:
    position, pairs = 0, []
    while position < len(dsn):
        match = _KEYWORD.match(dsn, position)
        if match is None or match[1] not in _SHOWN | _HIDDEN or not match[2].isprintable():
            return None
        pairs.append((match[1], HIDDEN if match[1] in _HIDDEN else match[2]))
        position = match.end()
    if not pairs or len(dict(pairs)) < len(pairs):  # a key twice may come out of a password with a space
        return None
    return " ".join(f"{key}={value}" for key, value in pairs)


def _redacted_line(line: str) -> str:
    kept, position = [], 0
    for scheme in _SCHEME.finditer(line):
        rest = line[scheme.end() :]
        if scheme.start() < position or _EXAMPLE.match(line, scheme.start()):
            continue
        if not (_DATABASE.search(scheme[0]) or re.match(r"[^\s/]*:[^\s/]*@", rest)):
            continue
        end = _word_end(line, scheme.end())
        word = line[scheme.start() : end].rstrip(".,:;)]")
        shown, end = redact(word), scheme.start() + len(word)
        if shown == UNREADABLE:  # a password with a space or a quote in it may reach anywhere
            end = len(line)
        kept += [line[position : scheme.start()], shown]
        position = end
    return _without_keywords("".join([*kept, line[position:]]))


def _word_end(line: str, start: int) -> int:
    match = _WORD_END.search(line, start)
    return match.start() if match else len(line)


def _without_keywords(line: str) -> str:
    """Without the values that follow ``password=``: to the closing quote, or to the end of the word."""
    return re.sub(_PASSWORD_KEY.pattern + r"('(?:[^'\\]|\\.)*'|[^\s&'\"]*)", _hidden_value, line)


def _hidden_value(match: re.Match[str]) -> str:
    return match[0][: len(match[0]) - len(match[1])] + HIDDEN


def _replaced(text: str, *, words: bool) -> str:
    if words not in _masks:
        chosen = [
            secret for secret in _secrets if secret not in _public and (words or not _is_ordinary(secret))
        ]
        forms = {form for secret in chosen for form in _forms(secret) if len(form) >= WEAK_LENGTH}
        ordered = sorted(map(_pattern, forms), key=len, reverse=True)
        _masks[words] = re.compile("|".join(ordered)) if ordered else None
    pattern = _masks[words]
    return text if pattern is None else pattern.sub(HIDDEN, text)


def _is_ordinary(secret: str) -> bool:
    """Whether masking it everywhere would ruin what has nothing to do with it: a short text, a word, a number."""
    return len(secret) < WEAK_LENGTH or bool(re.fullmatch(r"[A-Za-z_]+|[-+.\d\seE]+", secret))


def _pattern(form: str) -> str:
    """As a word of its own where it is one, else wherever it stands."""
    return rf"(?<!\w){re.escape(form)}(?!\w)" if re.fullmatch(r"\w+", form) else re.escape(form)


def _forms(secret: str) -> set[str]:
    """How a secret may be written: as it is, in URIs, in Python, JSON, HTML, a shell and libpq's keywords."""
    encoded = {quote(secret, safe=""), quote(secret), quote_plus(secret), quote(secret, safe="!~*'()")}
    return {
        secret,
        *encoded,
        *(re.sub(r"%[0-9A-F]{2}", lambda code: code[0].lower(), form) for form in encoded),
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        html.escape(secret),
        html.escape(secret).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
        shlex.quote(secret)[1:-1] if shlex.quote(secret) != secret else secret,
        secret.replace("\\", "\\\\").replace("'", "\\'"),
        secret.replace("\\", "\\\\").replace(":", "\\:"),
    }
