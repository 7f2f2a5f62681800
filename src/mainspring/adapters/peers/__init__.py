"""Processes of one platform to each other: calls over gRPC, and certificates of who is who."""
