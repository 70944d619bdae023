"""Records that name a span that was not captured, of a trace that was: which of the trace's spans stands for it."""

from __future__ import annotations

import numpy as np

from butfor.correlating.homes import Homes
from butfor.correlating.intervals import Starts
from butfor.correlating.orders import Ordered, Rows


def at_home(spans: Ordered, homes: Homes, row: Rows, home: Rows, time: Rows) -> Rows:
    """What the event's own process did for the trace, nearest in time; `row` where it is not known to have done any.

    Per event `row` is any span of the trace, `home` its process or -1. A tracer's server span begins only after its
    server has read the request, and ends before it is answered: what happened then is nearer to it than to its caller.
    """
    roots = np.flatnonzero(homes.local_root)
    if not len(roots):
        return row
    width = int(homes.home.max()) + 1
    keys, group = np.unique(spans.trace[roots] * width + homes.home[roots], return_inverse=True)
    by = np.lexsort((spans.start[roots], group))
    roots, group = roots[by], group[by].astype(np.int64)
    wanted = np.where(home >= 0, spans.trace[row] * width + home, -1)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    asked = np.where(keys[at] == wanted, at, -1)
    before = Starts(group, spans.start[roots]).last(asked, time)
    after = np.where(before >= 0, before + 1, np.searchsorted(group, asked))
    has_after = (after < len(roots)) & (group[np.minimum(after, len(roots) - 1)] == asked)
    earlier, later = roots[np.maximum(before, 0)], roots[np.minimum(after, len(roots) - 1)]
    sooner = has_after & ((before < 0) | (spans.start[later] - time < time - spans.end[earlier]))
    return np.where(asked < 0, row, np.where(sooner, later, earlier))
