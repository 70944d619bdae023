"""Incidents where no commit is to blame, and those that only look so: what is decided, claimed and said."""

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


def test_provider_answers_503(evaluated):
    done = evaluated("provider_answers_503")
    assert done.row["outcome"] == "Dependency"
