"""The store: ClickHouse SQL, embedded (chDB) or a server, with the same code; telemetry in, telemetry out."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import clickhouse_connect
import pyarrow as pa
import pyarrow.compute as pc
from clickhouse_connect.driver.exceptions import ClickHouseError

from butfor.errors import InfrastructureError, UserError
from butfor.evidence.bundles import FILES, Bundle, Loss
from butfor.evidence.telemetry import Telemetry
from butfor.ports import schemas
from butfor.ports.store_rows import logs_in, logs_out, spans_in, spans_out

CHUNK_ROWS = 50_000
MAX_ROWS = 3_000_000
DAY_NS = 86_400 * 10**9


class Store:
    """One store. Embedded: a folder, one per investigation, one process at a time. Close it, or use it in `with`."""

    def __init__(self, client: Any, *, embedded: bool, ttl_days: int) -> None:
        self._client, self.embedded, self._ttl_days = client, embedded, ttl_days

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the embedded engine or the connection back."""
        self._client.close()

    def create(self) -> None:
        """Create otel_traces and otel_logs where they are not there; existing tables are left as they are."""
        self.command(schemas.traces_table(self._ttl_days))
        self.command(schemas.logs_table(self._ttl_days))

    def command(self, sql: str) -> None:
        """Run a statement that returns nothing."""
        try:
            self._client.command(sql)
        except ClickHouseError as error:
            raise InfrastructureError(f"the store refused a statement: {_one_line(error)}") from error

    def query(self, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
        """Run a query with `{name:Type}` parameters."""
        try:
            found = self._client.query_arrow(sql, parameters=parameters or {}, use_strings=True)
        except ClickHouseError as error:
            raise InfrastructureError(f"the store refused a query: {_one_line(error)}") from error
        assert isinstance(found, pa.Table)
        return found

    def load(self, telemetry: Telemetry) -> None:
        """Write spans and logs. An embedded store then holds these alone; a server keeps what it has.

        Rows are dropped `ttl_days` after today at the earliest, however old the telemetry is, where embedded.
        """
        self.create()
        for name, rows in (("otel_traces", spans_in(telemetry.spans)), ("otel_logs", logs_in(telemetry.logs))):
            if self.embedded:
                self.command(f"TRUNCATE TABLE {name}")
                self._keep(name, rows)
            for start in range(0, rows.num_rows, CHUNK_ROWS):
                self._insert(name, rows.slice(start, CHUNK_ROWS))

    def _insert(self, name: str, rows: pa.Table) -> None:
        try:
            self._client.insert_arrow(name, rows)
        except ClickHouseError as error:
            raise InfrastructureError(f"the store did not take rows of {name}: {_one_line(error)}") from error

    def _keep(self, name: str, rows: pa.Table) -> None:
        """The exporter's TTL counts from a row's own time, which would drop an older capture at once."""
        oldest = pc.min(rows["Timestamp"].cast(pa.int64())).as_py() if rows.num_rows else None
        age = max(0, (time.time_ns() - oldest) // DAY_NS) if oldest else 0
        days = min(self._ttl_days + age, 40_000)
        self.command(f"ALTER TABLE {name} MODIFY TTL {schemas.ttl(days)}")

    def span_of(self, trace: str | None = None) -> tuple[int, int] | None:
        """When the first and the last span (of a trace, where one is named) began, Unix ns; None where there is none.

        Raises UserError where the store has no otel_traces.
        """
        if not self._columns("otel_traces"):
            raise UserError("the store has no table otel_traces; name the database that the Collector writes to")
        ends = "toUnixTimestamp64Nano(min(Timestamp)) AS first, toUnixTimestamp64Nano(max(Timestamp)) AS last"
        where = "WHERE TraceId = {trace:String}" if trace else ""
        sql = f"SELECT count() AS rows, {ends} FROM otel_traces {where}"  # noqa: S608  # constants
        found = self.query(sql, {"trace": trace or ""}).to_pylist()[0]
        return (int(found["first"]), int(found["last"])) if found["rows"] else None

    def telemetry(
        self, start_ns: int, end_ns: int, *, services: list[str] | None = None, limit: int = MAX_ROWS
    ) -> Telemetry:
        """Spans and logs that began in [start_ns, end_ns), as ingest would hand them on.

        With `services`, of traces that touch one of them. More than `limit` rows is a Loss. Raises UserError where
        the store has no otel_traces.
        """
        losses: list[Loss] = []
        parameters = {"start": start_ns, "end": end_ns, "services": services or [], "limit": limit + 1}
        spans = spans_out(self._rows("otel_traces", parameters, losses, limit))
        logs = logs_out(self._rows("otel_logs", parameters, losses, limit))
        missing = [name for name in FILES if name not in ("spans.otlp.jsonl", "logs.otlp.jsonl")]
        return Telemetry(Bundle(path=Path("store"), manifest=None, missing=missing), spans, logs, [], losses)

    def _rows(self, name: str, parameters: dict[str, Any], losses: list[Loss], limit: int) -> pa.Table:
        known = self._columns(name)
        if not known:
            if name == "otel_traces":
                raise UserError("the store has no table otel_traces; name the database that the Collector writes to")
            losses.append(Loss(where=name, count=1, reason="the store has no such table"))
        wanted = schemas.TRACES if name == "otel_traces" else schemas.LOGS
        chosen = ", ".join(_column(column, kind, known) for column, kind in wanted)
        source = f"FROM {name} {_where(bool(parameters['services']))}" if known else "WHERE 0"
        # without the setting, WHERE would see the converted times instead of the table's own
        tail = "LIMIT {limit:UInt64} SETTINGS prefer_column_name_to_alias = 1"
        found = self.query(f"SELECT {chosen} {source} {tail}", parameters)
        if found.num_rows > limit:
            losses.append(Loss(where=name, count=1, reason=f"only the first {limit} rows of the time range were read"))
        return found.slice(0, limit)

    def _columns(self, name: str) -> dict[str, str]:
        sql = "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {name:String}"
        rows = self.query(sql, {"name": name}).to_pylist()
        known = {row["name"]: row["type"] for row in rows}
        if any(kind.startswith("JSON") for kind in known.values()):
            raise UserError(f"{name} was written with the exporter's `json: true`; only its default, maps, can be read")
        return known


def open_store(dsn: str, *, ttl_days: int = 7) -> Store:
    """Open `chdb://path` (embedded, the folder is made) or a server, such as `clickhouse://user:secret@host/otel`.

    Raises UserError where it cannot be opened; the message never holds the DSN's secret.
    """
    try:
        if dsn.startswith("chdb://"):
            folder = Path(dsn.removeprefix("chdb://"))
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            client = clickhouse_connect.get_client(interface="chdb", path=str(folder.resolve()))
            return Store(client, embedded=True, ttl_days=ttl_days)
        return Store(clickhouse_connect.get_client(dsn=dsn), embedded=False, ttl_days=ttl_days)
    except (ClickHouseError, OSError, ValueError) as error:
        raise UserError(f"cannot open the store {_without_secret(dsn)}: {_one_line(error)}") from error


def _without_secret(dsn: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", dsn)


def _one_line(error: BaseException) -> str:
    return re.sub(r"//[^/@\s]*@", "//***@", " ".join(str(error).split()))[:300]


def _where(of_services: bool) -> str:
    span = "Timestamp >= fromUnixTimestamp64Nano({start:Int64}) AND Timestamp < fromUnixTimestamp64Nano({end:Int64})"
    if not of_services:
        return f"WHERE {span}"
    touched = f"SELECT TraceId FROM otel_traces WHERE {span} AND ServiceName IN {{services:Array(String)}}"  # noqa: S608
    return f"WHERE {span} AND TraceId IN ({touched})"


def _column(name: str, kind: str, known: dict[str, str]) -> str:
    """Older exporters had fewer columns: what is not there is empty."""
    if kind.startswith("Nested"):
        inner = re.findall(r"(\w+) (DateTime64|LowCardinality|String|Map)", kind)
        parts = [(f"{name}.{part}", of) for part, of in inner]
        if not known:
            return ", ".join(f"[] AS `{part}`" for part, _ in parts)
        return ", ".join(
            f"arrayMap(t -> toUnixTimestamp64Nano(t), `{part}`) AS `{part}`" if of == "DateTime64" else f"`{part}`"
            for part, of in parts
        )
    if name not in known:
        return f"{_EMPTY.get(kind.split('(', maxsplit=1)[0].split(' ', maxsplit=1)[0], chr(39) * 2)} AS `{name}`"
    return f"toUnixTimestamp64Nano(`{name}`) AS `{name}`" if kind.startswith("DateTime64") else f"`{name}`"


_EMPTY = {"Map": "CAST(map(), 'Map(String, String)')", "UInt8": "0", "UInt64": "0", "DateTime64": "0"}
