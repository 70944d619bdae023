"""numpy dtypes from an object's BTF, so that user space and BPF can never disagree about a record's layout.

Only what records are made of is understood: integers, enums, arrays and structs. Format: Linux
Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

_MAGIC = 0xEB9F
_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM, _TYPEDEF, _VOLATILE, _CONST = 1, 2, 3, 4, 5, 6, 8, 9, 10
_DATASEC, _FUNC_PROTO, _VAR, _DECL_TAG, _ENUM64 = 15, 13, 14, 17, 19
_EXTRA = {_INT: 4, _ARRAY: 12, _VAR: 4, _DECL_TAG: 4}
_PER_MEMBER = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _FUNC_PROTO: 8, _DATASEC: 12, _ENUM64: 12}
MAXIMUM_TYPES = 1_000_000


class LayoutError(Exception):
    """The object has no BTF, or none that describes the wanted type."""


@dataclass(frozen=True)
class _Type:
    kind: int
    name: str
    size: int
    vlen: int
    extra: bytes


class TypeTable:
    """The types of one BPF object."""

    def __init__(self, data: bytes) -> None:
        self._types = _parse(data)
        self._names = {kind.name: index for index, kind in enumerate(self._types, 1) if kind.name}

    @classmethod
    def of_object(cls, path: Path) -> TypeTable:
        """Read `.BTF` of an object file; raises LayoutError."""
        try:
            with path.open("rb") as stream:
                section = ELFFile(stream).get_section_by_name(".BTF")
                if section is None:
                    raise LayoutError(f"{path.name} has no .BTF section")
                return cls(section.data())
        except (ELFError, OSError) as error:
            raise LayoutError(f"{path.name} cannot be read: {error}") from error

    def dtype(self, name: str) -> np.dtype[Any]:
        """The dtype of a struct, its offsets and size as the compiler laid it out."""
        if name not in self._names:
            raise LayoutError(f"no type {name} in BTF")
        try:
            return self._dtype(self._names[name], 0)
        except (TypeError, ValueError, struct.error) as error:
            raise LayoutError(f"{name} has no layout: {error}") from error

    def constants(self, name: str) -> dict[str, int]:
        """An enum's values by name."""
        if name not in self._names:
            raise LayoutError(f"no type {name} in BTF")
        kind = self._types[self._names[name] - 1]
        pairs = struct.iter_unpack("<Ii", kind.extra)
        return {self._strings_at(offset): value for offset, value in pairs}

    def _strings_at(self, offset: int) -> str:
        return _string(self._types.strings, offset)

    def _dtype(self, index: int, depth: int) -> np.dtype[Any]:
        if depth > 16 or not 0 < index <= len(self._types):
            raise LayoutError("the type is nested too deeply or is not there")
        kind = self._types[index - 1]
        if kind.kind in (_TYPEDEF, _VOLATILE, _CONST):
            return self._dtype(kind.size, depth + 1)
        if kind.kind == _INT:
            return _integer(kind)
        if kind.kind == _ENUM:
            return np.dtype(f"<u{kind.size}")
        if kind.kind == _ARRAY:
            return self._array(kind, depth)
        if kind.kind == _STRUCT:
            return self._struct(kind, depth)
        raise LayoutError(f"a record holds a type of kind {kind.kind}, which has no numpy form")

    def _array(self, kind: _Type, depth: int) -> np.dtype[Any]:
        element, _, count = struct.unpack("<III", kind.extra)
        inner = self._dtype(element, depth + 1)
        # text is bytes to numpy; an array of octets (an id, an address) is opaque
        if inner in (np.dtype("i1"), np.dtype("u1")):
            return np.dtype(f"S{count}") if inner == np.dtype("i1") else np.dtype(f"V{count}")
        return np.dtype((inner, (count,)))

    def _struct(self, kind: _Type, depth: int) -> np.dtype[Any]:
        names, formats, offsets = [], [], []
        for name, member, bits in struct.iter_unpack("<III", kind.extra):
            if bits % 8:
                raise LayoutError(f"{kind.name} has bit fields")
            names.append(self._strings_at(name))
            formats.append(self._dtype(member, depth + 1))
            offsets.append(bits // 8)
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": kind.size})


class _Types(list[_Type]):
    """Types in order of their id, with the string table they name things from."""

    strings: bytes = b""


def _string(strings: bytes, offset: int) -> str:
    end = strings.find(b"\0", offset)
    if end < 0:
        raise LayoutError("a name in BTF runs past its table")
    return strings[offset:end].decode("utf-8", "replace")


def _integer(kind: _Type) -> np.dtype[Any]:
    (encoding,) = struct.unpack("<I", kind.extra)
    signed = (encoding >> 24) & 1 or kind.name == "char"
    return np.dtype(f"<{'i' if signed else 'u'}{kind.size}")


def _parse(data: bytes) -> _Types:
    try:
        magic, _, _, header, type_at, type_len, string_at, string_len = struct.unpack_from("<HBBIIIII", data)
        if magic != _MAGIC:
            raise LayoutError("not little-endian BTF")
        types = _Types()
        types.strings = data[header + string_at : header + string_at + string_len]
        _read_types(types, data[header + type_at : header + type_at + type_len])
    except struct.error as error:
        raise LayoutError(f"BTF is cut off: {error}") from error
    return types


def _read_types(types: _Types, section: bytes) -> None:
    at = 0
    while at < len(section):
        name, info, size = struct.unpack_from("<III", section, at)
        kind, vlen = (info >> 24) & 0x1F, info & 0xFFFF
        length = _EXTRA.get(kind, 0) + _PER_MEMBER.get(kind, 0) * vlen
        extra = section[at + 12 : at + 12 + length]
        if len(extra) != length or len(types) >= MAXIMUM_TYPES:
            raise LayoutError("BTF is cut off")
        types.append(_Type(kind, _string(types.strings, name), size, vlen, extra))
        at += 12 + length
