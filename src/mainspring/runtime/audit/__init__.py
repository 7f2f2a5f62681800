"""The Merkle tree over the event log."""
