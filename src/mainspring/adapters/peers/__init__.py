"""Processes of one platform to each other: calls over gRPC, and certificates of who is who."""

import os

# gRPC's handlers of fork() run in every child that is not made by vfork(), as one of another user,
# beside threads that still call into gRPC: such a child fails now and then before it is a program.
# A process that forks without becoming another program does so before it loads gRPC.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
