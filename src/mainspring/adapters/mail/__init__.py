"""Mail: a sandbox that records, real providers later."""
