"""Hostile objects, processes and tables: refusals with a reason, bounded."""

import contextlib
import os
import struct
from pathlib import Path

import pytest
from butfor_agent import pythons, slots
from butfor_agent.layouts import LayoutError, TypeTable
from hypothesis import given, settings
from hypothesis import strategies as st


def btf(types: bytes, strings: bytes = b"\0record\0field\0") -> bytes:
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return header + types + strings


INTEGER = struct.pack("<IIII", 0, 1 << 24, 4, 32)
RECORD = INTEGER + struct.pack("<III", 1, 4 << 24 | 1, 8) + struct.pack("<III", 8, 1, 32)


def test_a_struct_is_laid_out_as_the_compiler_did():
    dtype = TypeTable(btf(RECORD)).dtype("record")
    assert dtype.itemsize == 8
    assert dtype.fields["field"][1] == 4


@given(st.binary(max_size=200))
def test_any_bytes_are_types_or_a_refusal(data):
    with contextlib.suppress(LayoutError):
        TypeTable(data)


@given(st.integers(0, len(btf(RECORD)) - 1), st.integers(0, 255))
def test_one_wrong_byte_is_a_layout_or_a_refusal(at, value):
    data = bytearray(btf(RECORD))
    data[at] = value
    with contextlib.suppress(LayoutError):
        assert TypeTable(bytes(data)).dtype("record").itemsize >= 0


def test_a_type_that_holds_itself_ends():
    loop = struct.pack("<III", 1, 4 << 24 | 1, 8) + struct.pack("<III", 8, 1, 0)
    with pytest.raises(LayoutError, match="too deeply"):
        TypeTable(btf(loop)).dtype("record")


@given(st.binary(max_size=300))
@settings(max_examples=60)
def test_a_module_of_any_bytes_has_no_slot_or_a_reason(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("module") / "m.so"
    path.write_bytes(b"\x7fELF" + data)
    with contextlib.suppress(slots.SlotError, *slots.MALFORMED):
        assert slots._reached(path) is None


def test_a_process_that_is_gone_is_said_to_be_gone():
    with pytest.raises(slots.SlotError) as refused:
        slots.resolve(4_000_000)
    assert refused.value.reason is slots.Refusal.GONE


@given(st.binary(max_size=64), st.integers(-(1 << 40), 1 << 40))
def test_a_line_table_of_any_bytes_gives_a_line(table, offset):
    assert isinstance(pythons.line_of(table, 1, offset), int)


def walk(code):
    yield code
    for constant in code.co_consts:
        if hasattr(constant, "co_consts"):
            yield from walk(constant)


def test_lines_are_those_that_python_gives():
    code = compile(Path(pythons.__file__).read_text(), "x", "exec")
    for one in walk(code):
        for index, (line, *_rest) in enumerate(one.co_positions()):
            assert pythons.line_of(one.co_linetable, one.co_firstlineno, 2 * index) == (line or 0)


def test_no_code_where_nothing_is_mapped():
    assert pythons.place(os.getpid(), pythons.LAYOUTS[11], 8, 16) is None
