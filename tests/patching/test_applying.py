"""Foreign diffs: forms that people and models write are taken as git takes them, and nothing is guessed."""

import pytest

from bisecting.histories import History
from butfor.patching import from_diff

TEXT = "# one\n# two\n# three\n\n\ndef handle():\n    return 500\n\n\ndef other():\n    return 1\n"
HUNK = "--- a/app.py\n+++ b/app.py\n@@ -6,2 +6,2 @@\n def handle():\n-    return 500\n+    return 200\n"


@pytest.fixture
def base(tmp_path):
    history = History(tmp_path / "repo")
    bad = history.commit("start", app_py=TEXT, **{"no_end.txt": "a\nb"})
    return history.repository(tmp_path / "scratch"), bad


@pytest.mark.parametrize(
    "diff",
    [
        HUNK,
        "--- app.py\n+++ app.py\n@@ -6,2 +6,2 @@\n def handle():\n-    return 500\n+    return 200\n",
        "--- a/app.py\n+++ b/app.py\n@@ -7,1 +7,1 @@\n-    return 500\n+    return 200\n",
        "--- a/app.py\n+++ b/app.py\n@@ -1,2 +1,2 @@\n def handle():\n-    return 500\n+    return 200\n",
        "diff --git a/app.py b/app.py\nindex 1234567..89abcde 100644\n" + HUNK,
    ],
    ids=["plain", "no prefixes", "no context", "other line", "git's headers"],
)
def test_the_same_change_in_several_forms(base, diff):
    repository, bad = base
    tree, reason = from_diff(repository, bad, diff)
    assert reason == ""
    assert tree.revision == bad
    assert tree.overlay == {"app.py": TEXT.replace("500", "200").encode()}


def test_a_missing_line_feed_at_the_end_is_kept(base):
    repository, bad = base
    end = "\\ No newline at end of file\n"
    tree, reason = from_diff(
        repository, bad, f"--- a/no_end.txt\n+++ b/no_end.txt\n@@ -1,2 +1,2 @@\n a\n-b\n{end}+c\n{end}"
    )
    assert reason == ""
    assert tree.overlay == {"no_end.txt": b"a\nc"}


def test_a_new_file_is_made(base):
    repository, bad = base
    tree, reason = from_diff(repository, bad, "--- /dev/null\n+++ b/sub/new.py\n@@ -0,0 +1,1 @@\n+x = 1\n")
    assert reason == ""
    assert tree.overlay == {"sub/new.py": b"x = 1\n"}


@pytest.mark.parametrize(
    ("diff", "word"),
    [
        (
            "--- a/app.py\n+++ b/app.py\n@@ -6,2 +6,2 @@\n def handle():\n-    return 501\n+    return 200\n",
            "not apply",
        ),
        ("--- a/.GIT/config\n+++ b/.GIT/config\n@@ -1,1 +1,1 @@\n-a\n+b\n", "git's own"),
        ("--- a//etc/x\n+++ b//etc/x\n@@ -1,1 +1,1 @@\n-a\n+b\n", "not a path inside"),
    ],
)
def test_what_has_no_place_is_refused(base, diff, word):
    repository, bad = base
    tree, reason = from_diff(repository, bad, diff)
    assert tree is None
    assert word in reason
