"""Mainspring: the backend platform a Python team runs behind its product.

This is what an app is written with, built-in services included. See ``docs/howto/write-a-service``.
"""

from mainspring.kernel.authority import Authority
from mainspring.kernel.call import Call, Caller, Transaction
from mainspring.kernel.channel import Channel, Signals
from mainspring.kernel.clock import Clock, Entropy, Instant, elapsed_ms, epoch_ms, rfc3339
from mainspring.kernel.errors import (
    AskFailed,
    Conflict,
    Failure,
    FieldError,
    FieldErrors,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    PreconditionFailed,
    RateLimited,
    Rerun,
    Unauthenticated,
    Unavailable,
    check_all,
    read_at,
)
from mainspring.kernel.event import Envelope, Personal
from mainspring.kernel.event_log import EventLog, Followed, LogEntry, follow_events
from mainspring.kernel.ids import is_id
from mainspring.kernel.impersonation import Impersonated
from mainspring.kernel.job import Job, JobFailed, RetryAfter, Snooze
from mainspring.kernel.job_admin import JobAdmin
from mainspring.kernel.lru_cache import ExpiringCache, LruCache
from mainspring.kernel.measure import Measure
from mainspring.kernel.measured import Measured, Measures
from mainspring.kernel.metric import Counter, Gauge, Histogram
from mainspring.kernel.money import (
    AmountOutOfRange,
    CurrencyMismatch,
    Money,
    MoneyInvalid,
    Rounding,
)
from mainspring.kernel.operation import (
    ForeignForm,
    Input,
    Operation,
    OwnCredentials,
    Raw,
    Response,
    StreamItem,
    Upload,
    UploadTerms,
)
from mainspring.kernel.page import PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, Page, PageQuery
from mainspring.kernel.personal_fields import PersonalFields
from mainspring.kernel.policy import CachePolicy, PerKey, RateClass, RatePerKey, RetryPolicy
from mainspring.kernel.registry import Registry
from mainspring.kernel.request import RequestOutcome
from mainspring.kernel.sender import Sender
from mainspring.kernel.service import Service, handles
from mainspring.kernel.table import Command, Query, Rows, Statement, Table
from mainspring.kernel.user_app import App
from mainspring.ports.telemetry import Telemetry

__all__ = [
    "PAGE_LIMIT_DEFAULT",
    "PAGE_LIMIT_MAX",
    "AmountOutOfRange",
    "App",
    "AskFailed",
    "Authority",
    "CachePolicy",
    "Call",
    "Caller",
    "Channel",
    "Clock",
    "Command",
    "Conflict",
    "Counter",
    "CurrencyMismatch",
    "Entropy",
    "Envelope",
    "EventLog",
    "ExpiringCache",
    "Failure",
    "FieldError",
    "FieldErrors",
    "Followed",
    "Forbidden",
    "ForeignForm",
    "Gauge",
    "Gone",
    "Histogram",
    "Impersonated",
    "Input",
    "Instant",
    "Invalid",
    "Job",
    "JobAdmin",
    "JobFailed",
    "LogEntry",
    "LruCache",
    "Measure",
    "Measured",
    "Measures",
    "Money",
    "MoneyInvalid",
    "NotFound",
    "Operation",
    "OwnCredentials",
    "Page",
    "PageQuery",
    "PerKey",
    "Personal",
    "PersonalFields",
    "PreconditionFailed",
    "Query",
    "RateClass",
    "RateLimited",
    "RatePerKey",
    "Raw",
    "Registry",
    "RequestOutcome",
    "Rerun",
    "Response",
    "RetryAfter",
    "RetryPolicy",
    "Rounding",
    "Rows",
    "Sender",
    "Service",
    "Signals",
    "Snooze",
    "Statement",
    "StreamItem",
    "Table",
    "Telemetry",
    "Transaction",
    "Unauthenticated",
    "Unavailable",
    "Upload",
    "UploadTerms",
    "check_all",
    "elapsed_ms",
    "epoch_ms",
    "follow_events",
    "handles",
    "is_id",
    "read_at",
    "rfc3339",
]
