"""The JSON Schema of a verdict: `python -m butfor.reporting.schemas FILE` writes it, byte for byte the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from butfor.evidence.verdicts import Verdict
from butfor.reporting.writing import write

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of `verdict.json`."""
    found = Verdict.model_json_schema(mode="serialization")
    return {"$schema": DIALECT, **found, "title": "Butfor verdict"}


def schema_bytes() -> bytes:
    """Return the schema as it is published: sorted keys, two spaces, one newline at the end."""
    return json.dumps(schema(), indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def main(arguments: list[str]) -> int:
    """Write the schema to the one named file; 2 for any other usage."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m butfor.reporting.schemas FILE\n")
        return 2
    write(Path(arguments[0]), schema_bytes())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
