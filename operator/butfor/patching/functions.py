"""Definitions of a Python file by qualified name, and putting one back as it was in another revision of the file."""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from butfor.patching import edits
from butfor.patching.sources import parsed

Statement = ast.stmt
Function = ast.FunctionDef | ast.AsyncFunctionDef
BUILTINS = frozenset(dir(builtins)) | {"__file__", "__name__", "__doc__", "__class__"}


@dataclass(frozen=True)
class Definition:
    """A function or method with its decorators: lines `start` to `end` (from 0, end excluded).

    `name` is dotted from the module; a second definition of the same name (a property's setter) has `#2`.
    """

    name: str
    start: int
    end: int
    text: tuple[bytes, ...]

    @property
    def parent(self) -> str:
        """The class it stands in, empty for the module."""
        return self.name.rpartition(".")[0]


@lru_cache(maxsize=128)
def definitions(content: bytes) -> Mapping[str, Definition]:
    """Functions and methods by qualified name, in the order of the file; empty where it does not parse."""
    lines = edits.split(content)
    found: dict[str, Definition] = {}
    for name, node in nodes(content):
        start = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
        end = node.end_lineno or node.lineno
        found[name] = Definition(name, start, end, tuple(lines[start:end]))
    return found


def nodes(content: bytes) -> list[tuple[str, Function]]:
    """Syntax of the same functions and methods by the same names (shared: not to be changed)."""
    module = parsed(content)
    counts: Counter[str] = Counter()
    found: list[tuple[str, Function]] = []
    for name, node in _walk(module.body, "") if module is not None else ():
        counts[name] += 1
        found.append((name if counts[name] == 1 else f"{name}#{counts[name]}", node))
    return found


def _walk(body: list[Statement], prefix: str) -> Iterator[tuple[str, Function]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _walk(node.body, f"{prefix}{node.name}.")
        else:
            for inner in _blocks(node):
                yield from _walk(inner, prefix)


def _blocks(node: Statement) -> list[list[Statement]]:
    """Bodies of a compound statement that run when the module is loaded: if, try, with."""
    fields = [getattr(node, name, None) for name in ("body", "orelse", "finalbody")]
    blocks = [block for block in fields if isinstance(block, list)]
    return blocks + [handler.body for handler in getattr(node, "handlers", [])]


def enclosing(found: Mapping[str, Definition], start: int, end: int) -> str:
    """The definition whose lines hold start..end, empty for none."""
    last = max(start, end - 1)
    return next((d.name for d in found.values() if d.start <= start and last < d.end), "")


def put_back(content: bytes, wanted: Definition, source: bytes) -> bytes | None:
    """`content` with the definition as it is in `source`, and what it then lacks: imports, helpers, methods, state.

    Replaced where there is one of that name, else added after the sibling that precedes it in `source`.
    None where neither has a place or the result does not parse.
    """
    present = definitions(content)
    target = present.get(wanted.name)
    if target is not None:
        shift = edits.indent(target.text[0]) - edits.indent(wanted.text[0])
        edit = edits.Edit("", target.start, target.end, tuple(edits.reindent(wanted.text, shift)))
    else:
        line = _place(content, wanted, source, present)
        if line is None:
            return None
        edit = edits.Edit("", line, line, (b"\n", *wanted.text))
    changed = _with_methods(_with_names(edits.apply(content, [edit]), wanted, source), wanted, source)
    changed = _with_state(changed, wanted, source)
    return changed if parsed(changed) is not None else None


def _place(content: bytes, wanted: Definition, source: bytes, present: Mapping[str, Definition]) -> int | None:
    siblings = [d.name for d in definitions(source).values() if d.parent == wanted.parent]
    earlier = siblings[: siblings.index(wanted.name)] if wanted.name in siblings else []
    for name in reversed(earlier):
        if name in present:
            return present[name].end
    if not wanted.parent:
        return len(edits.split(content))
    inside = [d.end for d in present.values() if d.parent == wanted.parent]
    return max(inside, default=None)


def _with_names(content: bytes, wanted: Definition, source: bytes) -> bytes:
    """Add what the restored function uses of `source` and `content` lacks: imports, definitions, and theirs in turn.

    What is used as the module is loaded (a decorator, a default) must stand before it; the rest goes to the end.
    """
    module, origin = parsed(content), parsed(source)
    if module is None or origin is None:
        return content
    lines, bound, offered = edits.split(source), _bound(module.body), _bound(origin.body)
    added = _needed(_used(wanted.text), bound, offered, lines)
    loading = [node.lineno for node in _needed(_used_at_load(wanted.text), bound, offered, lines)]
    imports = [n for n in added if isinstance(n, ast.Import | ast.ImportFrom)]
    others = [n for n in added if n not in imports]
    head, tail = _after_imports(module), len(edits.split(content))
    restored = definitions(content).get(wanted.name)
    before = max(head, _top_level(module, restored.start)) if restored else head
    placed = [
        edits.Edit("", head, head, tuple(_texts(imports, lines))),
        edits.Edit("", before, before, tuple(_texts([n for n in others if n.lineno in loading], lines))),
        edits.Edit("", tail, tail, tuple(_texts([n for n in others if n.lineno not in loading], lines))),
    ]
    return edits.apply(content, [e for e in placed if e.new])


def _with_methods(content: bytes, wanted: Definition, source: bytes) -> bytes:
    """Add the methods of its own class that a restored method calls on itself and the class lacks, and theirs."""
    offered = definitions(source)
    for name in sorted(_own(wanted)):
        method = offered.get(f"{wanted.parent}.{name}")
        if method is not None and method.name not in definitions(content):
            content = put_back(content, method, source) or content
    return content


def _with_state(content: bytes, wanted: Definition, source: bytes) -> bytes:
    """Add what `__init__` of `source` sets of the attributes that a restored method reads and its class never sets.

    At the end of `__init__`, and only where the value needs nothing but arguments and names that are there.
    """
    present, module = definitions(content), parsed(content)
    begins, began = present.get(f"{wanted.parent}.__init__"), definitions(source).get(f"{wanted.parent}.__init__")
    node, old = _function(begins), _function(began)
    if module is None or not begins or not began or not node or not old or wanted.name == begins.name:
        return content
    if node.body[0].lineno == node.lineno or not old.args.args:
        return content
    beside = [d for d in present.values() if d.parent == wanted.parent and d.name != wanted.name]
    lacking = _own(wanted) - {n for d in beside for n in _attributes(d, ast.Store)}
    lacking -= _bound(_class_body(module, wanted.parent)).keys()
    known = {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)} | _bound(module.body).keys() | BUILTINS
    shift, added = node.body[0].col_offset - old.body[0].col_offset, list[bytes]()
    for line, end in sorted(_settings(old, lacking, known)):
        moved = edits.indent(begins.text[0]) - edits.indent(began.text[0]) + shift
        added += edits.reindent(began.text[line:end], moved)
    return edits.apply(content, [edits.Edit("", begins.end, begins.end, tuple(added))]) if added else content


def _class_body(module: ast.Module, name: str) -> list[Statement]:
    """The statements of a class, by its dotted name."""
    body = module.body
    for part in name.split("."):
        body = next((n.body for n in body if isinstance(n, ast.ClassDef) and n.name == part), [])
    return body


def _settings(
    begins: ast.FunctionDef | ast.AsyncFunctionDef, names: set[str], known: set[str]
) -> Iterator[tuple[int, int]]:
    """Lines, from the first decorator, of statements that set an attribute of the names from what is known."""
    first = min([begins.lineno, *(d.lineno for d in begins.decorator_list)])
    for one in begins.body:
        target = (
            one.targets[0] if isinstance(one, ast.Assign) else one.target if isinstance(one, ast.AnnAssign) else None
        )
        value = one.value if isinstance(one, ast.Assign | ast.AnnAssign) else None
        if not isinstance(target, ast.Attribute) or target.attr not in names or value is None:
            continue
        if not (isinstance(target.value, ast.Name) and target.value.id == begins.args.args[0].arg):
            continue
        if {n.id for part in (target, value) for n in ast.walk(part) if isinstance(n, ast.Name)} <= known:
            yield one.lineno - first, (one.end_lineno or one.lineno) - first + 1


def _function(definition: Definition | None) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The syntax tree of a definition by itself, its lines and columns from the definition's own."""
    text = definition.text if definition else ()
    module = parsed(b"".join(edits.reindent(text, -edits.indent(text[0])))) if text else None
    node = module.body[0] if module is not None and module.body else None
    return node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else None


def _own(wanted: Definition) -> set[str]:
    """Attributes that a method reads of its first argument."""
    return _attributes(wanted, ast.Load)


def _attributes(definition: Definition, context: type[ast.expr_context]) -> set[str]:
    """Attributes that a method reads, or sets, of its first argument."""
    node = _function(definition)
    if not definition.parent or node is None or not node.args.args:
        return set()
    me = node.args.args[0].arg
    attributes = [n for n in ast.walk(node) if isinstance(n, ast.Attribute) and isinstance(n.ctx, context)]
    return {n.attr for n in attributes if isinstance(n.value, ast.Name) and n.value.id == me}


def with_bound(content: bytes, names: set[str], source: bytes) -> bytes:
    """`content` with the names bound as they are in `source`, and what they use in turn; unchanged where it cannot."""
    module, origin = parsed(content), parsed(source)
    if module is None or origin is None:
        return content
    lines = edits.split(source)
    added = _needed(names, _bound(module.body), _bound(origin.body), lines)
    imports = [n for n in added if isinstance(n, ast.Import | ast.ImportFrom)]
    head, tail = _after_imports(module), len(edits.split(content))
    placed = [
        edits.Edit("", head, head, tuple(_texts(imports, lines))),
        edits.Edit("", tail, tail, tuple(_texts([n for n in added if n not in imports], lines))),
    ]
    return edits.apply(content, [e for e in placed if e.new])


def lacks(content: bytes, name: str) -> bool:
    """Whether a module that can be read has no such name, and no way to make it up."""
    module = parsed(content)
    if module is None:
        return False
    stars = any(isinstance(n, ast.ImportFrom) and n.names[0].name == "*" for n in ast.walk(module))
    return not stars and not _bound(module.body).keys() & {name, "__getattr__"}


def _top_level(module: ast.Module, line: int) -> int:
    """Where the statement of the module begins that holds a line (from 0)."""
    starts = [min([n.lineno, *(d.lineno for d in getattr(n, "decorator_list", []))]) - 1 for n in module.body]
    return max((start for start in starts if start <= line), default=0)


def _needed(
    names: set[str], bound: dict[str, Statement], offered: dict[str, Statement], lines: edits.Lines
) -> list[Statement]:
    """Statements that bind the names, and those that they use, in the order of the source."""
    found: dict[int, Statement] = {}
    open_ = sorted(names)
    while open_:
        name = open_.pop()
        if name in bound or name not in offered or offered[name].lineno in found:
            continue
        node = offered[name]
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and bound.keys() & set(_targets(node)):
            continue  # it would bind anew what is there
        found[node.lineno] = node
        open_ += sorted(_used(tuple(_texts([node], lines))))
    return [found[line] for line in sorted(found)]


def _texts(nodes: Sequence[Statement], lines: edits.Lines) -> Iterator[bytes]:
    for node in nodes:
        decorators = getattr(node, "decorator_list", [])
        start = min([node.lineno, *(d.lineno for d in decorators)]) - 1
        block = lines[start : node.end_lineno]
        yield from edits.reindent(block, -edits.indent(block[0]))


def _after_imports(module: ast.Module) -> int:
    ends = [n.end_lineno or n.lineno for n in module.body if isinstance(n, ast.Import | ast.ImportFrom)]
    return max(ends, default=0)


def _bound(body: list[Statement]) -> dict[str, Statement]:
    """Names that a module's top level binds, with the statement that does."""
    found: dict[str, Statement] = {}
    for node in body:
        for name in _targets(node):
            found.setdefault(name, node)
        if isinstance(node, ast.If | ast.Try | ast.With):
            for block in _blocks(node):
                found = _bound(block) | found
    return found


def _targets(node: Statement) -> list[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    return []


def _used_at_load(text: tuple[bytes, ...]) -> set[str]:
    """Names that a function reads as it is defined: decorators, defaults, annotations."""
    module = parsed(b"".join(edits.reindent(text, -edits.indent(text[0]))))
    node = module.body[0] if module is not None and module.body else None
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return set()
    read = [*node.decorator_list, node.args, *([node.returns] if node.returns else [])]
    return {n.id for part in read for n in ast.walk(part) if isinstance(n, ast.Name)} - BUILTINS


def _used(text: tuple[bytes, ...]) -> set[str]:
    """Names that a definition or statement reads and does not bind itself."""
    module = parsed(b"".join(edits.reindent(text, -edits.indent(text[0]))))
    if module is None:
        return set()
    names = [n for n in ast.walk(module) if isinstance(n, ast.Name)]
    own = {n.id for n in names if not isinstance(n.ctx, ast.Load)}
    own |= {n.arg for n in ast.walk(module) if isinstance(n, ast.arg)}
    return {n.id for n in names if isinstance(n.ctx, ast.Load)} - own - BUILTINS
