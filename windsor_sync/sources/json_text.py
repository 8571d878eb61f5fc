"""JSON in the cells of a table, as SQL macros: values that keep their meaning, ids that keep their digits.

DuckDB's own JSON functions accept `NaN` and trailing commas, and write numbers anew (`1.10` becomes `1.1`, `1e5`
becomes `100000.0`): harmless in a value, fatal in an id.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

import duckdb

from windsor_sync.errors import harmless

STRING = r'"(?:[^"\\]|\\.)*"'
NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?"
MOST_DIGITS = 100
SAMPLE_ROWS = 10_000
BEYOND_NUMBERS = rf"[0-9]{{{MOST_DIGITS + 1}}}|[eE]\+?0*(?:[2-9][0-9]{{2}}|[1-9][0-9]{{3}})"
"""More digits in a row, or a larger exponent, than a number may have: below both, every reader of JSON can hold it."""
TOO_DEEP = r"(?:[\[{][^\[\]{}]*){500}"
"""Readers of JSON go only so deep, Python's a thousand levels."""


class NumberTexts(NamedTuple):
    """Texts that are numbers, if all values of a column are."""

    name: str
    pattern: str
    number: str
    """makes a matching text, as JSON, a number, as SQL"""
    beside: str
    """what else such a column may hold: numbers that cannot mean anything else"""


WITH_COMMA = NumberTexts(
    "numbers with a decimal comma",
    "-?(0|[1-9][0-9]*|[1-9][0-9]{0,2}([.][0-9]{3})+),[0-9]+",
    "replace(replace(trim(value, '\"'), '.', ''), ',', '.')",
    "-?(0|[1-9][0-9]*)",  # 1.234 may be 1234
)
"""84,92 and 1.234,56 as a spreadsheet writes them in many countries."""
AS_STRINGS = NumberTexts(
    "numbers as JSON strings", r"-?(0|[1-9][0-9]{0,37})([.][0-9]*[1-9])?", "trim(value, '\"')", NUMBER
)
"""BigQuery writes INT64 and NUMERIC so; 1.10, which ends in a zero, is rather the number of a version."""

AS_SHOWN = r"[-+]?[$€£¥] ?[-+]?[0-9][0-9.,]*|[-+]?[0-9][0-9.,]* ?[$€£¥%]|-?[0-9]{1,3}(,[0-9]{3})+([.][0-9]+)?"
"""Numbers as reports show them: $12, 1,234.5. They are told as text, since 1,234 may be another number elsewhere."""
GAPS = "('\"NA\"', '\".\"')"
"""What R and SAS write where a number is missing; among texts it may be a text."""

_CALLED = re.compile(r"\b(\w+)\(")

_MACROS = {
    # The grammar of JSON, strictly, and nothing that Python's reader could not hold.
    "is_json(t)": rf"""
        json_valid(t)
        AND NOT regexp_matches(regexp_replace(t, '{STRING}', '""', 'g'), '(?i)nan|inf|,\s*[\]}}]|{BEYOND_NUMBERS}')
        AND (strlen(t) < 1000 OR NOT regexp_matches(regexp_replace(t, '{STRING}', '""', 'g'), '{TOO_DEEP}'))""",
    # 450.00, 450.0 and 450 are one value and get one text.
    "plain_number(t)": r"""
        CASE WHEN contains(t, '.') THEN regexp_replace(regexp_replace(t, '0+$', ''), '\.$', '') ELSE t END""",
    "tidy_json(j)": rf"CASE WHEN regexp_full_match(j, '{NUMBER}') THEN plain_number(j) ELSE json(j)::VARCHAR END",
    # The cell of a CSV file as JSON: what reads as a number, true, false, an array or an object is that, else a string.
    "json_of_cell(t)": rf"""
        CASE
            WHEN t IS NULL OR t = '' THEN NULL
            WHEN regexp_full_match(t, '{NUMBER}') AND strlen(t) <= {MOST_DIGITS} THEN plain_number(t)
            WHEN lower(t) IN ('true', 'false') THEN lower(t)
            WHEN regexp_full_match(t, '{NUMBER}[eE][+-]?[0-9]+') AND NOT regexp_matches(t, '{BEYOND_NUMBERS}')
                THEN tidy_json(json(t)::VARCHAR)
            WHEN t[1] IN ('[', '{{') AND is_json(t) THEN json(t)::VARCHAR
            ELSE to_json(t)::VARCHAR
        END""",
    # What programs write where there is nothing.
    "is_nothing(t)": r"""
        t IS NULL OR lower(trim(t)) IN ('', '\n', 'null', '(null)', 'nan', 'none', '<na>', 'n/a', '#n/a', '-',
            '[null]', '<null>', '#null!', '#ref!', '#div/0!', '#value!', '#name?', '#num!', 'undefined', '∅')""",
    # Bare numbers become strings of the same characters.
    "numbers_as_text(t)": rf"""
        CASE WHEN NOT regexp_matches(t, '[\[:,]\s*-?[0-9]') THEN t
        ELSE array_to_string(list_transform(
            regexp_extract_all(t, '{STRING}|-?[0-9][-+.0-9eE]*|[^"0-9-]+|-'),
            lambda part: CASE WHEN regexp_matches(part, '^-?[0-9]') THEN '"' || part || '"' ELSE part END), '')
        END""",
    # Segment's own samples hold typographic quotation marks where JSON wants straight ones.
    "straight(t)": "translate(t, '“”„‟', '\"\"\"\"')",
    # A JSON object as text that can be read, or null.
    "readable_object(t)": r"""
        CASE
            WHEN NOT regexp_matches(t, '^\s*\{') THEN NULL
            WHEN json_valid(t) THEN t
            WHEN json_valid(straight(t)) THEN straight(t)
        END""",
    # The first user id and the first e-mail of ids (t).
    "first_ids(t)": "CASE WHEN json_valid(t) THEN json_extract_string(t, ['$.user_id[0]', '$.email[0]']) END",
    # Whether ids (t; found: what from_json made of them) are written as they usually are, one user id and one e-mail:
    # put together again they are the same text, so nothing was escaped, left out or changed.
    "is_usual(found, t)": """
        t = concat('{"user_id":["', found.user_id[1], '"],"email":["', found.email[1], '"]}')""",
    # Whether under the keys of ids (t; raw: their arrays, as JSON) there is nothing but texts: as a rule, and cheap to see.
    "all_texts(l, t, k)": r"""
        CASE
            WHEN l IS NULL THEN NOT contains(t, k) AND NOT contains(t, '\')
            WHEN len(l) = 1 THEN starts_with(l[1], '"')
            ELSE len(list_filter(l, lambda each: each IS NULL OR NOT starts_with(each, '"'))) = 0
        END""",
    "holds_only_texts(raw, t)": """
        coalesce(all_texts(raw.user_id, t, 'user_id') AND all_texts(raw.email, t, 'email')
            AND all_texts(raw.anonymous_id, t, 'anonymous_id'), FALSE)""",
    "without_blanks(l)": "list_filter(l, lambda each: each IS NOT NULL AND each <> '')",
    # The texts under one key of an object of ids: an array as a rule, a single one tolerated.
    "ids_under(found, t, k)": r"""
        coalesce(
            CASE WHEN len(found) = 1 AND found[1] <> '' THEN found ELSE without_blanks(found) END,
            CASE WHEN (contains(t, k) OR contains(t, '\')) AND json_type(t, '/' || k) = 'VARCHAR'
                THEN without_blanks([json_extract_string(t, '/' || k)]) END)""",
    # Whether ids (t; found: what from_json made of them) hold arrays, objects or truth values, which it makes texts of.
    "seems_odd(l)": "len(l) > 1 OR l[1][1] IN ('[', '{') OR l[1] IN ('true', 'false')",
    "holds_odd_ids(found, t)": """
        CASE WHEN seems_odd(found.user_id) OR seems_odd(found.email) OR seems_odd(found.anonymous_id) THEN list_has_any(
            list_concat(json_type(t, '$.user_id[*]'), json_type(t, '$.email[*]'), json_type(t, '$.anonymous_id[*]')),
            ['ARRAY', 'OBJECT', 'BOOLEAN'])
        ELSE FALSE END""",
    # Whether ids (t, in which numbers are texts) hold a bare NaN or Infinity: DuckDB takes these for numbers, too.
    "holds_no_number(t)": """
        CASE WHEN regexp_matches(t, '(?i)nan|inf') THEN list_has_any(
            list_concat(json_type(t, '$.user_id[*]'), json_type(t, '$.email[*]'), json_type(t, '$.anonymous_id[*]')),
            ['DOUBLE'])
        ELSE FALSE END""",
    # A field that is an id: text as it is, a number as it is written (t is the whole object), '' for anything else.
    "id_of_json(j, t, p)": r"""
        CASE
            WHEN j IS NULL OR j IN ('null', '""') THEN NULL
            WHEN j[1] = '"' THEN json_extract_string(j, '$')
            WHEN regexp_full_match(j, '-?[1-9][0-9]*') THEN j
            WHEN regexp_matches(j, '^-?[0-9]') THEN json_extract_string(numbers_as_text(t), p)
            ELSE ''
        END""",
    "texts_of_json(j)": """
        CASE json_type(j)
            WHEN 'ARRAY' THEN from_json(j, '["VARCHAR"]')
            WHEN 'VARCHAR' THEN [json_extract_string(j, '$')]
        END""",
    # An e-mail without the blanks around it; with a line break inside it is none.
    "holds_space(t)": """
        contains(t, ' ') OR contains(t, chr(9)) OR contains(t, chr(10)) OR contains(t, chr(12)) OR contains(t, chr(13))""",
    "mail(t)": r"""
        CASE
            WHEN is_nothing(t) THEN NULL
            WHEN NOT holds_space(t) THEN t
            ELSE nullif(regexp_extract(t, '^\s*(\S(?:[^\r\n]*\S)?)\s*$', 1), '')
        END""",
    # Whether a text without control characters is one e-mail as it stands.
    "is_one_mail(t)": """
        contains(t, '@')
        AND NOT (contains(t, ' ') OR contains(t, ',') OR contains(t, ';') OR contains(t, '[') OR contains(t, '{'))""",
    # Several e-mails in one text: a, b or a;b, also with the brackets and quotation marks of a list.
    "mails_in(t)": r"""
        CASE WHEN regexp_matches(t, '[,;]|^\s*[\[{]')
        THEN list_transform(regexp_split_to_array(trim(t, ' []{}'), '[,;]'), lambda each: trim(each, ' "'''))
        ELSE [t] END""",
    # The e-mails, and what stands in their place and is none, since it has no @: whoever reads them counts it.
    "mails(l)": """
        CASE WHEN len(l) = 1 AND contains(l[1], '@') AND NOT regexp_matches(l[1], '[\\s,;\\[{]') THEN l
        ELSE without_blanks(list_transform(flatten(list_transform(l, lambda text: mails_in(text))), lambda each: mail(each)))
        END""",
}


def define_macros(connection: duckdb.DuckDBPyConnection, needed_by: str | None = None) -> None:
    """Make the macros above known to the connection's engine, for as long as it runs.

    `needed_by`: a statement. Where it is given, only the macros are defined that it uses, directly or through others. To define
    all of them takes longer than to seal a few users: an engine that is used again has them.
    """
    macros = dict(_MACROS) if needed_by is None else _macros_in(needed_by)
    name = f"macros_{hash(tuple(macros.items())) & (1 << 64) - 1:x}"
    try:
        # To ask whether a function exists is slow: if there is none, DuckDB looks for functions with similar names.
        connection.execute(f"CREATE MACRO {name}() AS NULL")
    except duckdb.CatalogException:
        return  # the engine has been here before
    for signature, body in macros.items():
        connection.execute(f"CREATE OR REPLACE MACRO {signature} AS {body}")


def _macros_in(statement: str) -> dict[str, str]:
    """Return the macros that a statement uses, and those that these use; each one after the macros that it uses."""
    names = {signature.partition("(")[0]: signature for signature in _MACROS}
    used: set[str] = set()
    texts = [statement]
    while texts:
        found = {name for name in _CALLED.findall(texts.pop()) if name in names} - used
        used |= found
        texts += [_MACROS[names[name]] for name in found]
    return {signature: body for signature, body in _MACROS.items() if signature.partition("(")[0] in used}


@dataclass(frozen=True, slots=True)
class MaybeNumbers:
    """A column of values as texts, which are numbers if all of them read as such."""

    column: str
    texts: NumberTexts


def settle_numbers(connection: duckdb.DuckDBPyConnection, maybe: MaybeNumbers | None) -> tuple[str, ...]:
    """Make numbers of the texts in the column `value` of the view `rows` where all of it is that; return what to say of it.

    Where all values of its first rows are numbers or truth values, but for NA and `.`, these two are no values. Where most
    values are such texts and others are not, all stay texts, and the column is named.
    """
    if maybe is None:
        return ()
    texts = maybe.texts
    is_one = f"regexp_full_match(value, '\"({texts.pattern})\"')"
    kinds = (is_one, "value[1] <> '\"' AND value[1] NOT IN ('[', '{')", f"value IN {GAPS}")
    shown = f"regexp_full_match(value, '\"({AS_SHOWN})\"') AND NOT {is_one}"
    counts = ", ".join(f"count(*) FILTER ({kind})" for kind in (*kinds, shown))
    [(some, plain, gaps, formatted, read)] = connection.execute(
        f"SELECT {counts}, count(*) FROM (SELECT value FROM rows WHERE value IS NOT NULL LIMIT {SAMPLE_ROWS})"
    ).fetchall()
    if formatted * 2 > read - gaps:
        return (_as_reports_show_them(maybe.column),)
    if some + plain and some + plain + gaps == read:
        _replace_values(connection, f"CASE WHEN value NOT IN {GAPS} THEN value END", "with_gaps")
        read -= gaps
    if not some:
        return ()
    is_number = f"regexp_full_match(value, '{texts.beside}')"
    others = f"SELECT 1 FROM rows WHERE value IS NOT NULL AND NOT {is_one} AND NOT {is_number} LIMIT 1"
    if connection.execute(others).fetchall():
        remark = (
            f"The column {harmless(maybe.column)} has {texts.name} beside other values: all are told as they are written. "
            "To tell numbers, export the whole column in one notation."
        )
        return (remark,) if some * 2 > read else ()
    _replace_values(connection, f"CASE WHEN {is_one} THEN plain_number({texts.number}) ELSE value END", "as_texts")
    return ()


def _replace_values(connection: duckdb.DuckDBPyConnection, value: str, before: str) -> None:
    """Put another value in the rows; the view as it was is called `before`."""
    connection.execute(f"ALTER VIEW rows RENAME TO {before}")
    connection.execute(f"CREATE TEMP VIEW rows AS SELECT * REPLACE ({value} AS value) FROM {before}")


def _as_reports_show_them(column: str) -> str:
    return (
        f"The column {harmless(column)} has numbers as reports show them, such as $12 or 1,234.5: all are told as they are "
        "written, as text. To tell numbers, export the values without formatting."
    )


def pointer(key: str) -> str:
    """The JSON pointer to a key of the outermost object."""
    return "/" + key.replace("~", "~0").replace("/", "~1")
