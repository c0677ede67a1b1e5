"""Choose rows of a store by a condition: the WHERE clause of SQL, which DuckDB evaluates over one shard after the other."""

import json
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any

from camtool.errors import DataError, closest
from camtool.store.reader import MapRow, Store, rows_of

if TYPE_CHECKING:
    import duckdb

COLUMNS = (
    *("id", "path", "digest", "label", "predicted", "target", "probability", "logit"),
    *("method", "layer", "min", "max", "sum", "status", "reason"),
)
"""Columns that a condition may name."""

OPERATIONS = {"+", "-", "*", "/", "//", "%", "||", "~~", "!~~", "~~*", "!~~*", "like_escape", "not_like_escape", "regexp_matches"}
FUNCTIONS = {
    *("abs", "round", "floor", "ceil", "sqrt", "exp", "ln", "log", "log10", "greatest", "least", "isnan", "isinf", "isfinite"),
    *("lower", "upper", "length", "contains", "starts_with", "ends_with", "prefix", "suffix"),
}
"""Functions that a condition may call. DuckDB has others that read files, the environment or its own settings."""

_CLASSES = {"COMPARISON", "CONJUNCTION", "CONSTANT", "COLUMN_REF", "OPERATOR", "BETWEEN", "CASE", "CAST", "TYPE", "FUNCTION"}
_OPERATORS = {"OPERATOR_NOT", "COMPARE_IN", "COMPARE_NOT_IN", "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "OPERATOR_COALESCE"}
_LONGEST = 4000  # letters; DuckDB bounds the depth
_ROW = "_row"
_TABLE = "store_rows"
_SETTINGS = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",  # else a table's name may be that of a variable of Python
    "threads": "1",
    "memory_limit": "1GB",
    "lock_configuration": "true",
}


def matching(store: Store, condition: str) -> Iterator[MapRow]:
    """Yield the rows for which a condition is true, in order; a NULL (of a label that is not known) makes it neither true nor false.

    The condition is parsed, and refused unless it consists of columns, constants, comparisons, arithmetic and the FUNCTIONS; it runs
    in a database in memory that cannot open files, load extensions, or see variables.

    Args:
        condition: such as "label != predicted AND probability > 0.9".

    Raises:
        DataError: if it is no condition, names a column that does not exist, or needs more than that; if DuckDB is not installed, or a
            shard is damaged.

    Example:
        >>> import tempfile
        >>> import camtool.store
        >>> from pathlib import Path
        >>> from camtool.store.layout import write_run
        >>> from camtool.store.schema import Row
        >>> from camtool.store.writer import write_rows
        >>> labels = {"cat.jpg": 1, "dog.jpg": 0, "unknown.jpg": None}
        >>> rows = [Row(i, path, "gradcam", label=label, predicted=1) for i, (path, label) in enumerate(labels.items())]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = write_run(Path(folder), {"fingerprint": {}, "samples": 3, "shard_size": 64})
        ...     record = write_rows(Path(folder), 0, rows)
        ...     [row["path"] for row in matching(camtool.store.open(folder), "label != predicted")]
        ['dog.jpg']
    """
    connection = _connection()
    try:
        sql = _checked(connection, condition)
        for table in store.tables():
            for start in _positions(connection, sql, table, condition):
                yield from rows_of(table.slice(start, 1))
    finally:
        connection.close()


def _connection() -> "duckdb.DuckDBPyConnection":
    try:
        import duckdb
    except ImportError as error:
        raise DataError("A query needs DuckDB: pip install 'camtool[query]', or leave out --query.") from error
    return duckdb.connect(":memory:", config=_SETTINGS)


def _positions(connection: "duckdb.DuckDBPyConnection", sql: str, table: Any, condition: str) -> list[int]:
    """Return which rows of a shard match, ascending."""
    import duckdb
    import pyarrow as pa

    plain = table.select(list(COLUMNS)).append_column(_ROW, pa.array(range(table.num_rows), pa.int64()))
    try:
        connection.register(_TABLE, plain)
        found = connection.execute(sql)
        kind = str(found.description[0][1])
        rows = found.fetchall()
        if any(not isinstance(value, (bool, NoneType)) for value, _ in rows):
            raise DataError(f"Expected a condition, true or false for each row, got --query {condition!r}, which is {kind}.")
        return [row for value, row in rows if value]
    except duckdb.Error as error:
        raise DataError(f"--query {condition!r} cannot be evaluated: {_first_line(error)}.") from error
    finally:
        connection.unregister(_TABLE)


def _checked(connection: "duckdb.DuckDBPyConnection", condition: str) -> str:
    """Return the statement that evaluates a condition; DataError if it is more, or less, than a harmless condition."""
    if not condition.strip() or len(condition) > _LONGEST or not condition.isprintable():
        raise DataError(
            f"Expected a condition of one line and at most {_LONGEST} letters, such as 'label != predicted', got {condition[:80]!r}."
        )
    found, plain = (_parsed(connection, text) for text in (condition, "true"))
    clause = found.pop("where_clause", None)
    plain.pop("where_clause")
    if clause is None or found != plain:
        raise _refused(condition, "something behind the condition")
    try:
        _check(clause, condition)
    except RecursionError as error:
        raise _refused(condition, "more levels than can be checked") from error
    return f"SELECT ({condition}\n), {_ROW} FROM {_TABLE} ORDER BY {_ROW}"


def _parsed(connection: "duckdb.DuckDBPyConnection", condition: str) -> dict[str, Any]:
    """Return the syntax tree of the statement with this condition; DataError if it is none, or more than one."""
    import duckdb

    sql = f"SELECT {_ROW} FROM {_TABLE} WHERE ({condition}\n)"  # the line break ends a comment
    try:
        ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
        tree = json.loads(text)
    except (duckdb.Error, RecursionError) as error:
        raise DataError(f"--query {condition!r} is no condition: {_first_line(error)}.") from error
    if tree.get("error", True):
        raise DataError(f"--query {condition!r} is no condition: {_first_line(tree.get('error_message', 'it cannot be read'))}.")
    if len(tree["statements"]) != 1:
        raise _refused(condition, "several statements")
    node: dict[str, Any] = tree["statements"][0]["node"]
    return node


def _check(node: Any, condition: str) -> None:
    """Raise DataError if a part of a condition's tree is none of the harmless ones."""
    if isinstance(node, list):
        for part in node:
            _check(part, condition)
    if not isinstance(node, Mapping):
        return
    if "class" in node:
        _check_expression(node, condition)
    elif "node" in node:
        raise _refused(condition, "a select")
    for part in node.values():
        _check(part, condition)


def _check_expression(node: Mapping[str, Any], condition: str) -> None:
    kind = str(node["class"])
    if kind not in _CLASSES:
        raise _refused(condition, f"a {kind.lower().replace('_', ' ')}")
    if kind == "COLUMN_REF":
        name = ".".join(node["column_names"])
        if name.lower() not in COLUMNS:  # SQL's names have no case
            raise DataError(f"--query {condition!r}: rows have no column '{name}'{closest(name, COLUMNS)}; expected {', '.join(COLUMNS)}.")
    if kind == "OPERATOR" and node["type"] not in _OPERATORS:
        raise _refused(condition, f"the operator {str(node['type']).lower()}")
    if kind == "FUNCTION" and (
        str(node["function_name"]).lower() not in OPERATIONS | FUNCTIONS or node.get("schema") or node.get("catalog")
    ):
        raise _refused(condition, f"the function '{node['function_name']}'{closest(str(node['function_name']), FUNCTIONS)}")


def _refused(condition: str, what: str) -> DataError:
    return DataError(
        f"--query {condition!r} has {what}; expected columns, constants, comparisons, AND, OR, NOT, IN, BETWEEN, LIKE, IS NULL, CASE, "
        f"arithmetic, and the functions {', '.join(sorted(FUNCTIONS))}."
    )


def _first_line(error: Exception | str) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
