"""The feed: reads the event log by page or live. Owns no tables, emits and consumes nothing."""

from mainspring.services.events.api import service

__all__ = ["service"]
