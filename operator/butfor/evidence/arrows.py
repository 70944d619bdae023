"""Arrow without pandas: importing this keeps pyarrow from importing pandas, which no stage uses; no I/O.

On its first conversion pyarrow imports pandas, where it is installed, only to ask whether a value is a Series. That
takes longer than many an analysis. An import that fails once is not tried again.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder

import pyarrow as pa


class _NoPandas(MetaPathFinder):
    """Fails the import of pandas."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Raise for pandas, know nothing of the rest."""
        del path, target
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is left out", name="pandas")


def _leave_pandas_out() -> None:
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)


_leave_pandas_out()
