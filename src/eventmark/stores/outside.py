"""What a store's SQL must not touch: everything of a database but the schema that Eventmark made for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from eventmark.engine.statements import Statement, quoted_schema
from eventmark.errors import StoreDefinitionError
from eventmark.results.targets import is_own
from eventmark.stores.script import bare, called_functions, qualified_names

_SYSTEM = ("pg_catalog", "information_schema")

_SCHEMAS = "select nspname::text from pg_namespace"
_OF_EXTENSIONS = """
select n.nspname::text as schema, o.name::text as name
from pg_depend d
join (
    select 'pg_class'::regclass as class, oid, relnamespace as namespace, relname as name from pg_class
    union all select 'pg_proc'::regclass, oid, pronamespace, proname from pg_proc
    union all select 'pg_type'::regclass, oid, typnamespace, typname from pg_type
    union all select 'pg_operator'::regclass, oid, oprnamespace, oprname from pg_operator
    union all select 'pg_opclass'::regclass, oid, opcnamespace, opcname from pg_opclass
) o on o.class = d.classid and o.oid = d.objid
join pg_namespace n on n.oid = o.namespace
where d.deptype = 'e'
"""

# One row for each thing in the database: what to call it by, and a version that changes when it does. What hangs on
# a table (a column, a trigger, a policy) is called by the table.
_CATALOGUE = """
with part (kind, class, object, part, version) as (
    select 'relation', 'pg_class'::regclass, oid, '', xmin::text from pg_class
    union all select 'function', 'pg_proc'::regclass, oid, '', xmin::text from pg_proc
    union all select 'type', 'pg_type'::regclass, oid, '', xmin::text from pg_type
    union all select 'schema', 'pg_namespace'::regclass, oid, '', xmin::text from pg_namespace
    union all select 'extension', 'pg_extension'::regclass, oid, '', xmin::text from pg_extension
    union all select 'language', 'pg_language'::regclass, oid, '', xmin::text from pg_language
    union all select 'operator', 'pg_operator'::regclass, oid, '', xmin::text from pg_operator
    union all select 'cast', 'pg_cast'::regclass, oid, '', xmin::text from pg_cast
    union all select 'event trigger', 'pg_event_trigger'::regclass, oid, '', xmin::text from pg_event_trigger
    union all select 'publication', 'pg_publication'::regclass, oid, '', xmin::text from pg_publication
    union all select 'foreign server', 'pg_foreign_server'::regclass, oid, '', xmin::text from pg_foreign_server
    union all select 'default privileges', 'pg_default_acl'::regclass, oid, '', xmin::text from pg_default_acl
    union all select 'relation', 'pg_class'::regclass, attrelid, 'column ' || attnum, xmin::text from pg_attribute
    union all select 'relation', 'pg_class'::regclass, adrelid, 'default ' || oid, xmin::text from pg_attrdef
    union all select 'relation', 'pg_class'::regclass, conrelid, 'constraint ' || oid, xmin::text
        from pg_constraint where conrelid <> 0
    union all select 'relation', 'pg_class'::regclass, tgrelid, 'trigger ' || oid, xmin::text from pg_trigger
    union all select 'relation', 'pg_class'::regclass, ev_class, 'rule ' || oid, xmin::text from pg_rewrite
    union all select 'relation', 'pg_class'::regclass, polrelid, 'policy ' || oid, xmin::text from pg_policy
    union all select 'relation', 'pg_class'::regclass, indrelid, 'index ' || indexrelid, xmin::text from pg_index
    union all select 'relation', 'pg_class'::regclass, inhparent, 'child ' || inhrelid, xmin::text from pg_inherits
    union all select 'role', 'pg_authid'::regclass, r.oid, '', md5(r::text) from pg_roles r
    union all select 'role', 'pg_authid'::regclass, setrole, 'setting ' || setdatabase, xmin::text
        from pg_db_role_setting where setrole <> 0
    union all select 'role', 'pg_authid'::regclass, member, 'membership ' || roleid, xmin::text from pg_auth_members
    union all select 'database', 'pg_database'::regclass, oid, '', xmin::text from pg_database
)
select kind, class::oid::bigint as class, object::bigint, part, version from part
where object >= 16384 or kind not in ('relation', 'function', 'type', 'operator', 'cast')
"""
_NAMED = """
select coalesce(i.schema, '') as schema, i.identity
from pg_identify_object($1::bigint::oid, $2::bigint::oid, 0) i
"""
_COUNTED = """
select schemaname::text || '.' || relname::text as name, n_tup_ins + n_tup_upd + n_tup_del as written,
    coalesce(seq_scan, 0) + coalesce(idx_scan, 0) as read
from pg_stat_xact_all_tables
where schemaname <> $1 and schemaname <> all($2::text[]) and schemaname !~ '^pg_(toast|temp)'
"""
_DEPENDENCIES = """
select distinct i.type, i.schema, i.identity
from pg_depend d, pg_identify_object(d.refclassid, d.refobjid, 0) i
where d.classid = 'pg_proc'::regclass and i.schema is not null and d.objid = (
        select oid from pg_proc where pronamespace = $1::text::regnamespace and proname = $2
    )
    and not exists (
        select from pg_depend e where e.classid = d.refclassid and e.objid = d.refobjid and e.deptype = 'e'
    )
"""

_VIEWS = """
with recursive read (rule, view) as (
    select r.oid, r.ev_class from pg_depend d join pg_rewrite r on r.ev_class = d.refobjid
    where d.classid = 'pg_proc'::regclass and d.refclassid = 'pg_class'::regclass and d.objid = (
        select oid from pg_proc where pronamespace = $1::text::regnamespace and proname = $2
    )
    union
    select r.oid, r.ev_class from read
    join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = read.rule
    join pg_rewrite r on r.ev_class = d.refobjid and d.refclassid = 'pg_class'::regclass
)
select read.rule::bigint, pg_get_viewdef(c.oid) as text from read join pg_class c on c.oid = read.view
where c.relkind = 'v'
"""
"""The views that a statement reads, those behind views too."""

_VOLATILE = """
select p.oid::regprocedure::text from pg_depend d join pg_proc p on p.oid = d.refobjid
where d.refclassid = 'pg_proc'::regclass and p.provolatile = 'v' and (
    d.classid = 'pg_rewrite'::regclass and d.objid = any($3::bigint[]::oid[])
    or d.classid = 'pg_proc'::regclass
        and d.objid = (select oid from pg_proc where pronamespace = $1::text::regnamespace and proname = $2)
)
order by 1 limit 1
"""

_VOLATILE_BUILT_IN = """
select oid::regprocedure::text from pg_proc
where pronamespace = 'pg_catalog'::regnamespace and provolatile = 'v' and proname = any($1) and proname <> all($2)
order by 1 limit 1
"""
"""No dependency is kept on what the server brings: these are found by the names that the text calls."""

_HARMLESS = ("clock_timestamp", "gen_random_uuid", "random", "timeofday", "uuidv4", "uuidv7")
"""Volatile, and change nothing."""

Part = tuple[str, int, int, str]
Catalogue = dict[Part, str]

_PROBE = "eventmark_probe"


@dataclass(frozen=True, slots=True)
class Reached:
    """What a store's SQL did outside of its schema, and to what; ``part`` is where the catalogue has it."""

    verb: str
    name: str
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else a database holds: the names of its schemas, and what in them belongs to extensions."""

    schema: str
    schemas: frozenset[str]
    of_extensions: frozenset[tuple[str, str]]

    def refuse_names(self, sql: str, path: str, first_line: int) -> None:
        """Raises ``StoreDefinitionError`` for a name of another schema, extensions' and the system's excepted."""
        for name in qualified_names(sql, first_line):
            foreign = name.schema in self.schemas and name.schema not in (self.schema, *_SYSTEM)
            if foreign and (name.schema, name.name) not in self.of_extensions:
                raise outside(name.verb, f"{name.schema}.{name.name}", path, name.line)


async def read_surroundings(connection: asyncpg.Connection[Any], schema: str) -> Surroundings:
    """Of the schema that a store is made in."""
    schemas = [row[0] for row in await connection.fetch(_SCHEMAS)]
    members = [(row["schema"], row["name"]) for row in await connection.fetch(_OF_EXTENSIONS)]
    return Surroundings(schema, frozenset(schemas), frozenset(members))


def outside(verb: str, name: str, path: str, line: int) -> StoreDefinitionError:
    """The error for ``name``, which the store's SQL reaches and must not."""
    own = name.partition("(")[0].rpartition(".")[2]
    return StoreDefinitionError(
        f"{verb} {name}, which is outside the schema that Eventmark made",
        path=path,
        line=line,
        remedy=f"write {{schema}}.{own}",
    )


class Watched:
    """Tells what was changed, written or read outside of ``schema`` since it was made.

    Only within a transaction of isolation REPEATABLE READ, which sees no changes of others.
    """

    def __init__(self, connection: asyncpg.Connection[Any], schema: str) -> None:
        self._connection = connection
        self._schema = schema
        self._catalogue: Catalogue = {}
        self._counted: dict[str, tuple[int, int]] = {}

    async def begin(self) -> None:
        self._catalogue = await self._read_catalogue()
        self._counted = await self._read_counted()

    async def reached(self) -> Reached | None:
        """The first thing outside that is another than it was at ``begin``."""
        for name, (written, read) in (await self._read_counted()).items():
            written_before, read_before = self._counted.get(name, (0, 0))
            if written > written_before or read > read_before:
                return Reached("writes" if written > written_before else "reads", name)
        after = await self._read_catalogue()
        before = self._catalogue
        for part in sorted(part for part in after | before if after.get(part) != before.get(part)):
            name, own = await self._named(part)
            if not own:
                gone = part not in after and not part[3]
                return Reached("drops" if gone else "changes" if part in before else "creates", name, part)
        return None

    async def name_again(self, reached: Reached) -> str:
        """What was dropped has its name again once the transaction is rolled back."""
        if reached.part is None or reached.name:
            return reached.name
        return (await self._named(reached.part))[0] or f"a {reached.part[0]}"

    async def _named(self, part: Part) -> tuple[str, bool]:
        """What it is called, and whether it is the schema's own."""
        row = await self._connection.fetchrow(_NAMED, part[1], part[2])
        if row is None or row["identity"] is None:
            return "", False
        schema = row["schema"].strip('"')
        own = schema in (self._schema, "pg_toast") or row["identity"].strip('"') == self._schema
        return row["identity"], own or f"{self._schema}." in row["identity"].replace('"', "")

    async def _read_catalogue(self) -> Catalogue:
        rows = await self._connection.fetch(_CATALOGUE)
        return {(row["kind"], row["class"], row["object"], row["part"]): row["version"] for row in rows}

    async def _read_counted(self) -> dict[str, tuple[int, int]]:
        rows = await self._connection.fetch(_COUNTED, self._schema, list(_SYSTEM))
        return {row["name"]: (row["written"], row["read"]) for row in rows}


async def refuse_dependencies(
    connection: asyncpg.Connection[Any], schema: str, statement: Statement, parameter_oids: Sequence[int]
) -> None:
    """Raises ``StoreDefinitionError`` for a statement that depends on anything outside, as the server parsed it.

    Of the user's own also for one that calls a function which may write.

    The server tells for the body of a function, which is made for that alone and rolled back by the caller.
    """
    types = [await connection.fetchval("select $1::oid::regtype::text", oid) for oid in parameter_oids]
    probe = f"{quoted_schema(schema)}.{_PROBE}"
    await connection.execute(
        f"create function {probe}({', '.join(types)}) returns void language sql"
        f" begin atomic {bare(statement.sql(schema))}\n; end"  # the text may end with a comment
    )
    for row in await connection.fetch(_DEPENDENCIES, quoted_schema(schema), _PROBE):
        if row["schema"].strip('"') not in (schema, *_SYSTEM):
            raise outside("uses", row["identity"], statement.path, statement.first_line)
    if is_own(statement.name):
        await _refuse_volatile(connection, schema, statement)
    await connection.execute(f"drop function {probe}")


async def _refuse_volatile(connection: asyncpg.Connection[Any], schema: str, statement: Statement) -> None:
    """Of a statement that was made the body of the probe, and of every view behind it."""
    probe = (quoted_schema(schema), _PROBE)
    views = await connection.fetch(_VIEWS, *probe)
    called = await connection.fetchval(_VOLATILE, *probe, [view["rule"] for view in views])
    texts = [statement.sql(schema), *(view["text"] for view in views)]
    names = list(set().union(*map(called_functions, texts)))
    called = called or await connection.fetchval(_VOLATILE_BUILT_IN, names, list(_HARMLESS))
    if called is not None:
        raise StoreDefinitionError(
            f"calls {called}, which is volatile and may write",
            path=statement.path, line=statement.first_line,
            remedy="a statement of a mix only reads: leave the call out, or declare a function of your own STABLE",
        )  # fmt: skip
