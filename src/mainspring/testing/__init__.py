"""What a team tests its own services with: a clock it moves, real servers, conformance suites."""
