"""An environment is built again when, and only when, what its setup reads has changed."""

import pytest

from butfor.evidence.services import ServiceDescription
from butfor.ports.setups import base_key, key, reads


def service(setup, **more):
    return ServiceDescription(name="shop", run="true", setup=setup, **more)


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        ("pip install -q flask==3.0.0 anyio==4.2.0", "nothing"),
        ("pip install -q --disable-pip-version-check \\\n  click==8.1 \\\n  Jinja2==3.1.5", "nothing"),
        ("", "nothing"),
        ("pip install -r requirements.txt", "dependencies"),
        ("pip install -rrequirements/dev.txt", "dependencies"),
        ("pip install -c constraints.txt flask", "dependencies"),
        ("poetry install --no-root", "dependencies"),
        ('pip install -r "$WORKTREE/req.txt"', "dependencies"),
        ("pip install -e .", "sources"),
        ("pip install -q -e '.[test]' pytest==8", "sources"),
        ('pip install --editable "$WORKTREE"', "sources"),
        ("pip install -e ./backend", "sources"),
        ("python setup.py develop", "sources"),
        ("pip install .", "everything"),
        ("pip install -q --no-deps .", "everything"),
        ("pip install '.[all]'", "everything"),
        ("pip install pytest\npip install $WORKTREE", "everything"),
        ("python setup.py -q install", "everything"),
    ],
)
def test_reads_what_the_script_says(setup, expected):
    assert reads(service(setup)) == expected


def test_a_description_can_say_that_everything_is_read():
    assert reads(service("./weird-build", setup_each_revision=True)) == "everything"


CHANGES = {
    "requirements.txt": ("dependencies", "sources", "everything"),
    "requirements/dev.txt": ("dependencies", "sources", "everything"),
    "pyproject.toml": ("dependencies", "sources", "everything"),
    "src/speed.pyx": ("sources", "everything"),
    "src/app.py": ("everything",),
    "README.md": ("everything",),
}
SETUPS = {
    "nothing": "pip install flask",
    "dependencies": "pip install -r requirements.txt",
    "sources": "pip install -e .",
    "everything": "pip install .",
}


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("what", SETUPS)
def test_the_key_changes_with_what_is_read_and_with_nothing_else(tmp_path, path, what):
    for name in CHANGES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("one")
    one = service(SETUPS[what])
    before = key(one, tmp_path, ["3.11"])
    assert key(one, tmp_path, ["3.11"]) == before
    (tmp_path / path).write_text("two")
    assert (key(one, tmp_path, ["3.11"]) != before) == (what in CHANGES[path])


def test_the_key_changes_with_setup_interpreter_and_service(tmp_path):
    one = service("pip install flask")
    keys = {
        key(one, tmp_path, ["3.11"]), key(one, tmp_path, ["3.12"]),
        key(service("pip install bottle"), tmp_path, ["3.11"]),
        key(one.model_copy(update={"name": "other"}), tmp_path, ["3.11"]), base_key(one, ["3.11"]),
    }  # fmt: skip
    assert len(keys) == 5


def test_links_of_a_hostile_worktree_are_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("one")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "requirements.txt").symlink_to(secret)
    (tree / "pyproject.toml").symlink_to("/dev/zero")
    one = service("pip install -r requirements.txt")
    before = key(one, tree, [])
    secret.write_text("two")
    assert key(one, tree, []) == before
