"""MongoDB's language over records: filters, projections and pipelines, in memory and bounded.

A room of its own because it knows nothing of records: documents go in, documents come out. What
goes in is what the caller may see, so nothing here can show more. See ADR 57.
"""

from mainspring.services.records.documents.filters import Matches, read_filter
from mainspring.services.records.documents.passed_on import (
    passed_filter,
    passed_sort,
    require_passed,
)
from mainspring.services.records.documents.pipelines import (
    Stage,
    read_pipeline,
    read_projection,
    read_sort,
)
from mainspring.services.records.documents.values import Budget

__all__ = [
    "Budget",
    "Matches",
    "Stage",
    "passed_filter",
    "passed_sort",
    "read_filter",
    "read_pipeline",
    "read_projection",
    "read_sort",
    "require_passed",
]
