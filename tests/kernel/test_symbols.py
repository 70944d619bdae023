"""Functions by their place in a module: those of its symbol table, and no name where that is broken, gone or another."""

import os
import shutil
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest
from butfor_agent.symbols import Symbols
from elftools.elf.elffile import ELFFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SOURCE = """
static int __attribute__((noinline)) inner(int n) { return n * 7 + 1; }
int outer(int n) { return inner(n) + inner(n + 1); }
int data = 4;
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("symbols") / "lib.so"
    subprocess.run(["gcc", "-xc", "-", "-shared", "-fPIC", "-O1", "-o", path], input=SOURCE.encode(), check=True)
    return path


def functions(path):
    """Name, file offset and size of each function, as a library of its own reads them."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        loads = [(s["p_vaddr"], s["p_filesz"], s["p_offset"]) for s in elf.iter_segments("PT_LOAD")]
        for symbol in (elf.get_section_by_name(".symtab") or elf.get_section_by_name(".dynsym")).iter_symbols():
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_size"]:
                for at, size, offset in loads:
                    if at <= symbol["st_value"] < at + size:
                        yield symbol.name, symbol["st_value"] - at + offset, symbol["st_size"]


def named(path, offset, symbols=None):
    return (symbols or Symbols()).name(os.getpid(), str(path), path.stat().st_ino, offset)


def test_every_byte_of_a_function_has_its_name(library):
    found = {name: (offset, size) for name, offset, size in functions(library)}
    assert {"inner", "outer"} <= set(found)
    for name in ("inner", "outer"):
        offset, size = found[name]
        assert {named(library, at) for at in range(offset, offset + size)} == {name}
    assert named(library, 0) == ""


def test_all_of_a_large_library_quickly():
    library = Path(sysconfig.get_config_var("LIBDIR")) / sysconfig.get_config_var("INSTSONAME")
    if not library.exists():
        pytest.skip("this interpreter is linked as a whole")
    symbols, wanted = Symbols(), {}
    for name, offset, _ in functions(library):
        wanted.setdefault(offset, set()).add(name)
    began = time.process_time()
    assert all(named(library, offset, symbols) in names for offset, names in wanted.items())
    assert time.process_time() - began < 10


def test_what_has_no_symbols_has_the_names_that_it_exports(library, tmp_path):
    stripped = shutil.copy(library, tmp_path / "stripped.so")
    subprocess.run(["strip", stripped], check=True)
    found = {name: offset for name, offset, _ in functions(library)}
    assert (named(stripped, found["outer"]), named(stripped, found["inner"])) == ("outer", "")


def test_another_file_in_its_place_gives_no_names(library):
    offset = next(offset for name, offset, _ in functions(library) if name == "outer")
    assert Symbols().name(os.getpid(), str(library), library.stat().st_ino + 1, offset) == ""
    assert Symbols().name(os.getpid(), "/nowhere/lib.so", 7, offset) == ""


def test_a_pipe_or_a_folder_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert named(tmp_path / "pipe", 64) == named(tmp_path, 64) == ""


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_broken_file_gives_a_name_or_none(library, tmp_path, data):
    content = bytearray(library.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "broken.so").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for offset in (0, 0x1000, 0x1100, 1 << 40, (1 << 64) - 1):
        assert len(named(tmp_path / "broken.so", offset)) <= 200
