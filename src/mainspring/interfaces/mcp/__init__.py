"""The Model Context Protocol at ``/mcp``: operations as three tools, records as resources."""
