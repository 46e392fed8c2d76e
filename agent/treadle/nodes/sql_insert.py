"""sql.insert: writes items into a table, each once."""

from __future__ import annotations

from typing import Any, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from treadle.data import NodeData
from treadle.node import BlockingNode, Params
from treadle.nodes.expression import compile_all

ColumnType = Literal["text", "integer", "number", "boolean", "timestamp", "json"]
_DIALECTS: Final = ("sqlite", "postgresql")


class SqlInsertParams(Params):
    """Which table of which database, and what goes into its columns."""

    model_config = ConfigDict(hide_input_in_errors=True)  # the URL may hold a password

    url: str = Field(
        description="SQLAlchemy URL: `sqlite:///folder/file.db` (the folder is made; relative to the agent's working "
        'folder) or `postgresql+psycopg://...`; with a password, a reference: `{"$secret": "name"}`.'
    )
    table: str = Field(min_length=1, max_length=63, description="The table's name.")
    columns: dict[str, ColumnType] = Field(
        default_factory=dict, description="Column -> type: creates the table if it is not there. Else it must be."
    )
    key: list[str] = Field(
        default_factory=list,
        description="Columns of the primary key or a unique index: a row with the same key is replaced (upsert).",
    )
    values: dict[str, str] | None = Field(
        None, description="Column -> CEL expression over `data`; by default each column takes the field of its name."
    )
    effect_column: str = Field("effect_id", description="The unique column for effect ids; not used with `key`.")
    effects_kept_days: float = Field(
        30.0, gt=0, description="With `key`, how long the table `<table>_effects` remembers what was written."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.url.startswith(_DIALECTS):
            raise ValueError("url must start with sqlite: or postgresql:")
        if self.columns and not set(self.key) <= set(self.columns):
            raise ValueError("every column of key must be one of columns")
        if self.effect_column in self.columns:
            raise ValueError(f"{self.effect_column} is made by itself; leave it out of columns or rename effect_column")
        return self


class SqlInsert(BlockingNode[SqlInsertParams]):
    """Writes each item as a row of a SQL table (SQLite, PostgreSQL) and passes it on; a repetition writes nothing.

    The effect id of the execution is stored in the same SQL transaction: in a unique column of the row or, when rows
    are replaced by `key`, in the table `<table>_effects`. So after a crash each item is in the table exactly once.
    Lists and mappings are stored as JSON.
    """

    uses = "sql.insert"

    def open(self) -> None:
        from treadle.nodes._sql_table import SqlTable  # noqa: PLC0415 - SQLAlchemy is heavy

        self._values = None if self.params.values is None else compile_all(self.params.values, where="values")
        self._table = SqlTable(
            self.params.url,
            self.params.table,
            columns=self.params.columns,
            key=self.params.key,
            effect_column=self.params.effect_column,
        )
        self._table.forget_effects(before=self.context.now() - self.params.effects_kept_days * 86_400)

    def close(self) -> None:
        self._table.close()

    def execute(self, data: NodeData) -> NodeData:
        row: dict[str, Any]
        if self._values is None:
            row = {name: data[name] for name in self._table.columns if name in data}
        else:
            row = {name: expression(data) for name, expression in self._values.items()}
        self._table.write(row, effect_id=self.context.effect_id, now=self.context.now())
        return data
