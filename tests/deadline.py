"""How long a test waits for what happens by itself."""

DEADLINE_S = 60.0
"""Seconds. Only a test that fails waits this long: what is slower on a busy machine is no failure.

A test about time itself injects its clock.
"""
