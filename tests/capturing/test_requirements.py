"""A draft's setup installs what the service needs, and not what else is in its environment."""

from __future__ import annotations

import json

import pytest

from butfor.capturing.requirements import imported, required


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    return folder


@pytest.fixture
def install(site):
    def install(name, *files, version="1", requires=(), direct=None, record=True):
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = "".join(f"Requires-Dist: {one}\n" for one in requires)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}")
        if record:
            (info / "RECORD").write_text("".join(f"{file},sha256=x,1\n" for file in files))
        else:
            (info / "top_level.txt").write_text("\n".join({file.partition("/")[0] for file in files}))
        if direct is not None:
            (info / "direct_url.json").write_text(json.dumps(direct))

    return install


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    return folder


def test_only_what_was_loaded_and_what_that_requires(site, install, root):
    install("Web_Kit", "webkit/__init__.py", version="2.0", requires=["wires>=1", 'extra1; extra == "more"', "absent"])
    install("wires", "wires.py", version="1.5")
    install("extra1", "extra1.py")
    install("unused", "unused/__init__.py", requires=["wires"])
    found = required([f"{site}/webkit/__init__.py"], [str(site)], root)
    assert found.pins == {"web-kit": "web-kit==2.0", "wires": "wires==1.5"}
    assert found.local == {}


def test_a_namespace_shared_by_two_belongs_to_the_one_that_was_loaded(site, install, root):
    install("google-a", "google/a.py")
    install("google-b", "google/b.py")
    assert set(required([f"{site}/google/b.py"], [str(site)], root).pins) == {"google-b"}


def test_without_a_list_of_files_the_top_level_names_count(site, install, root):
    install("old", "old/__init__.py", record=False)
    install("older", "older/__init__.py", record=False)
    assert set(required([f"{site}/old/part.py"], [str(site)], root).pins) == {"old"}


def test_imports_of_the_repository_count_where_nothing_reached_them_yet(site, install, root):
    install("lazy", "lazy/__init__.py")
    install("pytest", "pytest/__init__.py", "_pytest/x.py")
    install("inner", "inner/__init__.py")
    (root / "app.py").write_text("def f():\n    import lazy.part\n    from . import inner\n")
    (root / "broken.py").write_text("import inner\ndef f(:\n")
    (root / "tests").mkdir()
    (root / "tests" / "test_x.py").write_text("from pytest import raises\n")
    (root / "venv2").mkdir()
    (root / "venv2" / "pyvenv.cfg").write_text("")
    (root / "venv2" / "x.py").write_text("import inner\n")
    assert set(required([], [str(site)], root).pins) == {"lazy", "pytest"}
    assert imported(root) == {"lazy", "pytest"}


def test_what_came_from_no_index_is_told_apart(site, install, root):
    install("mine", "x.pth", requires=["dep"], direct={"url": f"file://{root}", "dir_info": {"editable": True}})
    install("dep", "dep.py")
    pinned = {"url": "https://forge.example/lib", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    install("lib", "lib.py", direct=pinned)
    found = required([f"{site}/lib.py"], [str(site)], root)
    assert found.pins == {"dep": "dep==1", "lib": "lib @ git+https://forge.example/lib@abc"}
    assert found.local == {"mine": root}


def test_the_start_up_hook_of_setuptools_is_no_use_of_it(site, install, root):
    install("setuptools", "setuptools/__init__.py", "_distutils_hack/__init__.py")
    assert required([f"{site}/_distutils_hack/__init__.py"], [str(site)], root).pins == {}
    assert set(required([f"{site}/setuptools/__init__.py"], [str(site)], root).pins) == {"setuptools"}
