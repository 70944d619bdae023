"""Files that are written whole or not at all, and texts that can be."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from butfor.evidence.verdicts import Verdict


def write(path: Path, content: bytes) -> None:
    """Write to a temporary sibling, then rename; a failure leaves neither a half file nor the temporary one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def encodable(verdict: Verdict) -> Verdict:
    """The same verdict with what is no UTF-8 (names of files need not be) written out in ASCII."""
    return Verdict.model_validate(_encodable(verdict.model_dump()))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(one) for key, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, (list, tuple)) else value
