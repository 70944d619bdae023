"""The page on butfor.yaml names every field that there is, and its examples are read."""

from pathlib import Path

import yaml

from butfor.evidence.services import Ready, RepositoryRef, ServiceDescription

PAGE = Path(__file__).parents[2] / "docs" / "service.md"


def test_the_page_on_service_descriptions_is_true():
    examples = PAGE.read_text().split("```yaml\n")[1:]
    read = [one for text in examples for one in yaml.safe_load_all(text.split("```")[0])]
    assert {key for one in read for key in one} == set(ServiceDescription.model_fields)
    assert set(read[0]["ready"]) == set(Ready.model_fields)
    for one in read:
        ServiceDescription.model_validate(one)
    assert all(name in PAGE.read_text() for name in RepositoryRef.model_fields)
