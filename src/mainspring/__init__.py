"""Mainspring: the backend platform a Python team runs behind its product.

This is what an app is written with, built-in services included. See ``docs/howto/write-a-service``.
"""

from mainspring.kernel.call import Call, Caller, Transaction
from mainspring.kernel.clock import Instant, rfc3339
from mainspring.kernel.errors import (
    AskFailed,
    Conflict,
    Failure,
    FieldError,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Rerun,
    Unavailable,
)
from mainspring.kernel.event import Envelope, Personal
from mainspring.kernel.job import JobFailed, RetryAfter, Snooze
from mainspring.kernel.metric import Counter, Gauge, Histogram
from mainspring.kernel.money import (
    AmountOutOfRange,
    CurrencyMismatch,
    Money,
    MoneyInvalid,
    Rounding,
)
from mainspring.kernel.operation import Input, Operation, Raw, Response, StreamItem, Upload
from mainspring.kernel.page import Page, PageQuery
from mainspring.kernel.policy import RateClass, RetryPolicy
from mainspring.kernel.service import Service, handles
from mainspring.kernel.table import Query, Statement, Table
from mainspring.kernel.user_app import App
from mainspring.ports.telemetry import Telemetry

__all__ = [
    "AmountOutOfRange",
    "App",
    "AskFailed",
    "Call",
    "Caller",
    "Conflict",
    "Counter",
    "CurrencyMismatch",
    "Envelope",
    "Failure",
    "FieldError",
    "Forbidden",
    "Gauge",
    "Gone",
    "Histogram",
    "Input",
    "Instant",
    "Invalid",
    "JobFailed",
    "Money",
    "MoneyInvalid",
    "NotFound",
    "Operation",
    "Page",
    "PageQuery",
    "Personal",
    "Query",
    "RateClass",
    "Raw",
    "Rerun",
    "Response",
    "RetryAfter",
    "RetryPolicy",
    "Rounding",
    "Service",
    "Snooze",
    "Statement",
    "StreamItem",
    "Table",
    "Telemetry",
    "Transaction",
    "Unavailable",
    "Upload",
    "handles",
    "rfc3339",
]
