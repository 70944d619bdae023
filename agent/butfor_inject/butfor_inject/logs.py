"""Log records of warnings, errors and exceptions become OTLP logs in the request's context."""

from __future__ import annotations

import sys
import time
from typing import Any

from butfor_inject import failures, recorders
from butfor_inject.boundaries import attempt
from butfor_inject.contexts import copied, current
from butfor_inject.exchanges import identity, recent
from butfor_inject.texts import attributes

_SEVERITIES = ((50, 21, "FATAL"), (40, 17, "ERROR"), (30, 13, "WARN"), (20, 9, "INFO"), (0, 5, "DEBUG"))
BODY_LIMIT = 16_384


def hook_logging(module: Any) -> None:
    """See every record that a logger hands to its handlers, whether or not it propagates."""
    original = module.Logger.callHandlers

    def callHandlers(self: Any, record: Any) -> Any:  # noqa: N802 - logging's own name
        if record.exc_info or record.levelno >= 30:
            attempt("log", _write, record)
        return original(self, record)

    module.Logger.callHandlers = copied(callHandlers, original)


def _write(record: Any) -> None:
    info = record.exc_info
    error = info[1] if isinstance(info, tuple) and len(info) == 3 else None
    values = {
        "code.file.path": record.pathname,
        "code.line.number": record.lineno,
        "code.function.name": record.funcName,
    }
    body = str(record.getMessage())[:BODY_LIMIT]
    emit(record.name, record.levelno, body, error, int(record.created * 1e9), values)


def emit(name: str, level: int, body: str, error: Any, time_ns: int, values: dict[str, Any]) -> None:
    """Write one record, bound to the request that the running code serves."""
    exchange = current.get()
    if isinstance(error, BaseException):
        values = {**values, **_described(exchange, error)}
    number, text = next((n, t) for least, n, t in _SEVERITIES if level >= least)
    record: dict[str, Any] = {
        "timeUnixNano": str(time_ns),
        "severityNumber": number,
        "severityText": text,
        "body": {"stringValue": body},
        "attributes": attributes(values),
    }
    if exchange is not None:
        record["traceId"], record["spanId"] = exchange.ids
    elif isinstance(error, BaseException) and identity(error) in recent:
        record["traceId"], record["spanId"] = recent[identity(error)]
    recorders.recorder().spool.log(name, record)


def _described(exchange: Any, error: BaseException) -> dict[str, Any]:
    known = {}
    if exchange is not None and not exchange.finished:
        known = exchange.remember(error, "log")
    known = known or failures.describe(error, "log")
    values = {key: value for key, value in known.items() if key != "time_ns"}
    return {**values, "butfor.exception.source": "log"}


def hook_threading(module: Any) -> None:
    """A thread that dies of an exception leaves a log record."""
    original = module.excepthook

    def excepthook(args: Any, /) -> Any:
        attempt("thread", _died, "threading", args.exc_value)
        return original(args)

    module.excepthook = copied(excepthook, original)


def watch_main() -> None:
    """A process that dies of an exception leaves a log record."""
    original = sys.excepthook

    def excepthook(kind: Any, error: Any, traceback: Any) -> Any:
        attempt("process", _died, "sys", error)
        return original(kind, error, traceback)

    sys.excepthook = excepthook


def _died(name: str, error: Any) -> None:
    if isinstance(error, BaseException):
        emit(name, 40, f"uncaught {failures.type_name(type(error))}", error, time.time_ns(), {})
