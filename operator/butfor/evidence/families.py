"""Exception families: what kind of thing went wrong, as a documented tree of dotted names; pure, no I/O.

    timeout                 .connect  .read
    connection              .refused  .reset  .broken_pipe  .closed  .unreachable  .name  .tls
    protocol                .status
    not_found               .file  .key  .index  .attribute  .import  .row  .table  .template
    permission              .file  .auth
    path                    (not a directory, is a directory, name too long, too many links)
    constraint              .unique  .foreign_key  .not_null  .exists
    exhausted               .disk  .quota  .files  .memory  .processes  .pool  .ports  .recursion  .size  .rate
    conflict                .lock  .deadlock  .address  .busy  .stale
    type                    .none  .arguments
    value                   .decode  .arithmetic  .assertion  .validation
    syntax                  .sql  .template
    cancelled
    missing                 (not implemented, not supported)
    state                   (used at the wrong time: closed, not started, exhausted iterators)
    process                 (a child process failed or was killed)
    io                      (any other failure of the operating system)
    unknown

A family is found, most specific first, by the errno that the message carries, by the message of errors whose
class says little (`sqlite3.OperationalError`), by the class name (known libraries), by Python's own class
hierarchy, and at last by the words in the class name, which also reads Java, Go and JavaScript names.
"""

from __future__ import annotations

import builtins
import errno
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

UNKNOWN = "unknown"

_ERRNOS = {
    "ENOENT": "not_found.file", "EACCES": "permission.file", "EPERM": "permission.file", "EROFS": "permission.file",
    "EEXIST": "constraint.exists", "ENOTDIR": "path", "EISDIR": "path", "ENAMETOOLONG": "path", "ELOOP": "path",
    "ENOTEMPTY": "conflict.busy", "EBUSY": "conflict.busy", "ETXTBSY": "conflict.busy", "EDEADLK": "conflict.deadlock",
    "EADDRINUSE": "conflict.address", "ESTALE": "conflict.stale",
    "ENOSPC": "exhausted.disk", "EDQUOT": "exhausted.quota", "EMFILE": "exhausted.files", "ENFILE": "exhausted.files",
    "ENOMEM": "exhausted.memory", "ENOBUFS": "exhausted.memory", "EFBIG": "exhausted.size",
    "EADDRNOTAVAIL": "exhausted.ports",
    "ETIMEDOUT": "timeout.connect", "ECONNREFUSED": "connection.refused", "ECONNRESET": "connection.reset",
    "ECONNABORTED": "connection.reset", "EPIPE": "connection.broken_pipe", "ENOTCONN": "connection.closed",
    "ENETUNREACH": "connection.unreachable", "EHOSTUNREACH": "connection.unreachable",
    "ENETDOWN": "connection.unreachable", "ENOEXEC": "process", "ECHILD": "process", "EIO": "io",
}  # fmt: skip

_MESSAGES = tuple(
    (re.compile(pattern, re.IGNORECASE), family)
    for pattern, family in (
        (r"QueuePool limit|pool (is )?exhausted|connection pool.*(full|timeout)|PoolTimeout", "exhausted.pool"),
        (r"too many (clients|connections)", "exhausted.pool"),
        (r"no space left|database or disk is full", "exhausted.disk"),
        (r"disk quota exceeded", "exhausted.quota"),
        (r"too many open files", "exhausted.files"),
        (r"can't start new thread|resource temporarily unavailable: fork", "exhausted.processes"),
        (r"cannot allocate memory|out of memory|JavaScript heap", "exhausted.memory"),
        (r"maximum recursion depth", "exhausted.recursion"),
        (r"deadlock", "conflict.deadlock"),
        (r"(database|table) is locked|lock wait timeout|could not obtain lock|lock not available", "conflict.lock"),
        (r"could not serialize|write-?write conflict", "conflict.stale"),
        (r"address already in use", "conflict.address"),
        (r"no such (table|column)|(relation|column) .{1,80} does not exist|unknown column", "not_found.table"),
        (r"unique constraint|duplicate (key|entry)", "constraint.unique"),
        (r"foreign key constraint", "constraint.foreign_key"),
        (r"not null constraint|cannot be null|null value in column", "constraint.not_null"),
        (r"near \".{0,40}\": syntax error|syntax error at or near|error in your SQL syntax", "syntax.sql"),
        (r"connection refused", "connection.refused"),
        (r"connection reset|connection aborted", "connection.reset"),
        (r"broken pipe", "connection.broken_pipe"),
        (r"name or service not known|name resolution|getaddrinfo|nodename nor servname", "connection.name"),
        (r"certificate verify failed|wrong version number|tls handshake", "connection.tls"),
        (r"server disconnected|remote end closed|peer closed connection|incomplete chunked", "connection.closed"),
        (r"timed out|timeout", "timeout"),
    )
)

_VAGUE = frozenset({
    "OperationalError", "DatabaseError", "InternalError", "DBAPIError", "Error", "Exception", "OSError", "IOError",
    "RuntimeError", "ConnectionError", "ConnectError", "URLError", "ClientError", "ClientConnectorError",
    "InterfaceError", "ProgrammingError", "IntegrityError", "BaseException", "NetworkError", "TransportError",
    "ConnectionException", "SystemError", "MaxRetryError", "TimeoutError", "ExceptionGroup", "BaseExceptionGroup",
    "SQLException", "IOException", "errorString",
})  # fmt: skip
"""Classes that say little by themselves: their message is read before their name."""

_NAMES = {
    "ConnectTimeout": "timeout.connect", "ConnectTimeoutError": "timeout.connect",
    "ConnectionTimeoutError": "timeout.connect", "ReadTimeout": "timeout.read", "ReadTimeoutError": "timeout.read",
    "WriteTimeout": "timeout", "TimeoutExpired": "timeout", "PoolTimeout": "exhausted.pool",
    "ServerTimeoutError": "timeout", "QueryCanceled": "timeout", "LockTimeout": "conflict.lock",
    "ConnectError": "connection", "ClientConnectorError": "connection", "ConnectionFailure": "connection",
    "NewConnectionError": "connection", "ClientOSError": "connection", "ServerDisconnectedError": "connection.closed",
    "IncompleteReadError": "connection.closed", "IncompleteRead": "connection.closed",
    "RemoteDisconnected": "connection.closed", "RemoteProtocolError": "connection.closed",
    "ReadError": "connection.closed", "WriteError": "connection.broken_pipe", "ClientDisconnect": "connection.closed",
    "ClientDisconnected": "connection.closed", "gaierror": "connection.name", "herror": "connection.name",
    "ClientConnectorDNSError": "connection.name", "SSLError": "connection.tls",
    "SSLCertVerificationError": "connection.tls", "HTTPStatusError": "protocol.status", "HTTPError": "protocol.status",
    "ClientResponseError": "protocol.status", "BadStatusLine": "protocol", "LocalProtocolError": "protocol",
    "BadRequest": "protocol", "InvalidHeader": "protocol", "ContentTypeError": "value.decode",
    "JSONDecodeError": "value.decode", "ParseError": "value.decode", "BinasciiError": "value.decode",
    "BadZipFile": "value.decode", "UnpicklingError": "value.decode", "InvalidOperation": "value.arithmetic",
    "ValidationError": "value.validation", "RequestValidationError": "value.validation",
    "MultiValueDictKeyError": "not_found.key", "BadRequestKeyError": "not_found.key",
    "UndefinedError": "not_found.attribute", "FieldDoesNotExist": "not_found.attribute",
    "NoResultFound": "not_found.row", "DoesNotExist": "not_found.row", "ObjectDoesNotExist": "not_found.row",
    "NoSuchTableError": "not_found.table", "UndefinedTable": "not_found.table", "UndefinedColumn": "not_found.table",
    "TemplateNotFound": "not_found.template", "TemplateDoesNotExist": "not_found.template",
    "NotFoundError": "not_found",
    "PackageNotFoundError": "not_found.import", "NotFound": "not_found", "Http404": "not_found",
    "TemplateSyntaxError": "syntax.template", "PermissionDenied": "permission.auth", "Forbidden": "permission.auth",
    "Unauthorized": "permission.auth", "NotAuthenticated": "permission.auth",
    "InvalidSignatureError": "permission.auth", "SuspiciousOperation": "permission.auth",
    "IntegrityError": "constraint", "UniqueViolation": "constraint.unique",
    "ForeignKeyViolation": "constraint.foreign_key", "NotNullViolation": "constraint.not_null",
    "DeadlockDetected": "conflict.deadlock", "LockNotAvailable": "conflict.lock", "LockError": "conflict.lock",
    "SerializationFailure": "conflict.stale", "StaleDataError": "conflict.stale", "Full": "exhausted.pool",
    "QueueFull": "exhausted.pool", "RequestEntityTooLarge": "exhausted.size", "RequestDataTooBig": "exhausted.size",
    "LimitOverrunError": "exhausted.size", "TooManyRequests": "exhausted.rate", "TooManyConnections": "exhausted.pool",
    "TooManyConnectionsError": "exhausted.pool", "CancelledError": "cancelled", "ClosedResourceError": "state",
    "InvalidStateError": "state", "InvalidRequestError": "state", "ResourceClosedError": "state",
    "PendingRollbackError": "state", "QueueEmpty": "state", "Empty": "state", "DetachedInstanceError": "state",
    "CalledProcessError": "process", "BrokenProcessPool": "process", "WorkerLostError": "process",
    "NullPointerException": "type.none", "ClassCastException": "type", "IndexOutOfBoundsException": "not_found.index",
    "ArrayIndexOutOfBoundsException": "not_found.index", "NoSuchElementException": "not_found.key",
    "IllegalStateException": "state", "IllegalArgumentException": "value", "NumberFormatException": "value.decode",
    "OutOfMemoryError": "exhausted.memory", "StackOverflowError": "exhausted.recursion", "RangeError": "value",
    "ReferenceError": "not_found.attribute", "OperationalError": "io", "DatabaseError": "io",
}  # fmt: skip

_BUILTINS = {
    "TimeoutError": "timeout", "ConnectionRefusedError": "connection.refused",
    "ConnectionResetError": "connection.reset", "ConnectionAbortedError": "connection.reset",
    "BrokenPipeError": "connection.broken_pipe", "ConnectionError": "connection", "FileNotFoundError": "not_found.file",
    "PermissionError": "permission.file", "FileExistsError": "constraint.exists", "NotADirectoryError": "path",
    "IsADirectoryError": "path", "ChildProcessError": "process", "ProcessLookupError": "process",
    "InterruptedError": "io", "BlockingIOError": "io", "KeyError": "not_found.key", "IndexError": "not_found.index",
    "AttributeError": "not_found.attribute", "ModuleNotFoundError": "not_found.import",
    "ImportError": "not_found.import", "NameError": "not_found.attribute", "LookupError": "not_found",
    "MemoryError": "exhausted.memory", "RecursionError": "exhausted.recursion", "TypeError": "type",
    "UnicodeError": "value.decode", "ArithmeticError": "value.arithmetic", "ValueError": "value",
    "AssertionError": "value.assertion", "NotImplementedError": "missing", "SyntaxError": "syntax",
    "EOFError": "connection.closed", "StopIteration": "state", "StopAsyncIteration": "state", "BufferError": "state",
    "RuntimeError": "state", "SystemExit": "process", "KeyboardInterrupt": "cancelled", "GeneratorExit": "cancelled",
    "OSError": "io",
}  # fmt: skip

_WORDS = (
    ("timeout", "timeout"), ("timedout", "timeout"), ("deadlineexceeded", "timeout"), ("refused", "connection.refused"),
    ("reset", "connection.reset"), ("unreachable", "connection.unreachable"), ("unknownhost", "connection.name"),
    ("disconnect", "connection.closed"), ("notfound", "not_found"), ("doesnotexist", "not_found"),
    ("nosuch", "not_found"), ("permission", "permission"), ("denied", "permission"), ("forbidden", "permission"),
    ("unauthorized", "permission"), ("toolarge", "exhausted.size"), ("exhausted", "exhausted"),
    ("toomany", "exhausted"), ("limitexceeded", "exhausted"), ("deadlock", "conflict.deadlock"),
    ("lock", "conflict.lock"), ("conflict", "conflict"), ("constraint", "constraint"), ("duplicate", "constraint"),
    ("alreadyexists", "constraint.exists"), ("validation", "value.validation"), ("decode", "value.decode"),
    ("cancel", "cancelled"), ("typeerror", "type"), ("invalidvalue", "value"), ("syntax", "syntax"),
    ("notimplemented", "missing"), ("unsupported", "missing"), ("connection", "connection"), ("protocol", "protocol"),
)  # fmt: skip

_ERRNO = re.compile(r"\[?Errno (\d{1,3})\]?|\b(E[A-Z]{3,14})\b")
_ARGUMENTS = re.compile(
    r"unexpected keyword|required (positional|keyword)|positional arguments? but|multiple values for", re.ASCII
)
_MESSAGE_LIMIT = 2000


def is_a(family: str | None, ancestor: str) -> bool:
    """Whether `family` is `ancestor` or below it in the tree."""
    return family is not None and (family == ancestor or family.startswith(ancestor + "."))


def family(types: Sequence[str], message: str = "") -> str:
    """The family of an exception chain (innermost type first); `message` is the innermost one's."""
    found = [_one(name, message[:_MESSAGE_LIMIT] if index == 0 else "") for index, name in enumerate(types)]
    return next((f for f in found if f != UNKNOWN), UNKNOWN)


def families(chains: Iterable[tuple[Sequence[str], str]]) -> list[str]:
    """The family of each `(types, message)`."""
    return [family(types, message) for types, message in chains]


@lru_cache(maxsize=4096)
def _one(name: str, message: str) -> str:
    short = name.replace("::", ".").rpartition(".")[2].strip()
    said = _by_errno(message) or (_by_message(message) if short in _VAGUE else None)
    return said or _by_type_message(short, message) or _by_name(short) or UNKNOWN


def _by_errno(message: str) -> str | None:
    for number, name in _ERRNO.findall(message):
        code = errno.errorcode.get(int(number), "") if number else name
        if code in _ERRNOS:
            return _ERRNOS[code]
    return None


def _by_message(message: str) -> str | None:
    return next((family for pattern, family in _MESSAGES if pattern.search(message)), None)


def _by_type_message(short: str, message: str) -> str | None:
    """What a `TypeError` or `AttributeError` of Python and JavaScript says about a missing value."""
    if short == "TypeError" and _ARGUMENTS.search(message):
        return "type.arguments"
    none = "NoneType" in message or "of undefined" in message or "of null" in message
    return "type.none" if short in {"TypeError", "AttributeError"} and none else None


def _by_name(short: str) -> str | None:
    if short in _NAMES:
        return _NAMES[short]
    known = getattr(builtins, short, None)
    if isinstance(known, type) and issubclass(known, BaseException):
        return next((_BUILTINS[c.__name__] for c in known.__mro__ if c.__name__ in _BUILTINS), None)
    plain = short.replace("_", "").lower()
    return next((family for word, family in _WORDS if word in plain), None)
