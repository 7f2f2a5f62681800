"""The words of the house, with no I/O: what apps, operations, calls, events and jobs are."""
