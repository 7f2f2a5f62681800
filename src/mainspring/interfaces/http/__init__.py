"""HTTP itself, under every interface that speaks it: connections, requests, bodies and headers."""
