"""Which functions of bad a patch changes."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from butfor.locating import patched

SHOP = """import os


class Till:
    def add(self, price):
        total = price
        return total

    def close(self):
        return 0


def settings():
    return {"tax": 2}
"""
CODEC = """#include <string.h>

static long checksum(const char *at)
{
    return *at;
}

long pack(const char *text, long size) {
    char copy[8];
    memcpy(copy, text, size);
    return checksum(copy);
}
"""


def healing(builder, opened, path, before, after):
    bad = builder.commit_files("bad", {"shop/__init__.py": "", "shop/till.py": SHOP, "codec.c": CODEC})
    text = {"shop/till.py": SHOP, "codec.c": CODEC}[path]
    assert before in text
    fixed = builder.commit_files("fixed", {path: text.replace(before, after)})
    return [one.name for one in patched(opened, bad, builder.git("diff", "-U1", bad, fixed).encode() + b"\n")]


def test_a_changed_line_names_its_function(builder, opened):
    assert healing(builder, opened, "shop/till.py", "total = price", "total = price + 1") == ["shop.till.Till.add"]


def test_the_function_with_most_changed_lines_comes_first(builder, opened):
    changed = SHOP.replace("total = price\n        return total", "total = 1\n        return 2").replace('"tax": 2', "")
    found = healing(builder, opened, "shop/till.py", SHOP, changed)
    assert found == ["shop.till.Till.add", "shop.till.settings"]


def test_what_is_put_in_names_the_function_that_it_is_put_into(builder, opened):
    assert healing(
        builder, opened, "shop/till.py", "        return 0\n", "        self.add(1)\n        return 0\n"
    ) == ["shop.till.Till.close"]


def test_another_language_names_what_stands_above(builder, opened):
    assert healing(builder, opened, "codec.c", "size);\n    return", "8);\n    return") == ["pack"]
    assert healing(builder, opened, "codec.c", "return *at;", "return 1;") == ["checksum"]


def test_what_is_no_function_names_none(builder, opened):
    assert healing(builder, opened, "shop/till.py", "import os", "import sys") == []
    assert healing(builder, opened, "codec.c", "#include <string.h>", "#include <stdio.h>") == []


@given(st.binary(max_size=300))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_no_patch_names_none(builder, opened, junk):
    bad = builder.shas.get("bad") or builder.commit_files("bad", {"shop/till.py": SHOP})
    assert patched(opened, bad, junk) == []
    assert patched(opened, bad, b"--- a/shop/till.py\n+++ b/shop/till.py\n@@ -900,2 +1,1 @@\n" + junk) == []
