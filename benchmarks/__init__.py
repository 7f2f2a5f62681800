"""Benchmarks: each workload beside a peer, alternating, in one run; ratios, never absolutes."""
