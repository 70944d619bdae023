"""Commands under test keep nothing in the user's cache; the tests of stores alone do, in a cache of their own."""

import pytest


@pytest.fixture(autouse=True)
def keeps_nothing(request, monkeypatch):
    if not request.node.path.name.startswith("test_stores"):
        monkeypatch.setattr("butfor.investigating.investigations.keep", lambda *_: "")
