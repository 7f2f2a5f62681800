"""The settings of MCP: ``[mcp]``."""

import msgspec


class McpSettings(msgspec.Struct, frozen=True):
    """``[mcp]``: whether agents may call, and whether they may write.

    Who writes over it needs the scope ``mcp:write`` as well. Without ``anonymous`` a credential is
    asked for.
    """

    enabled: bool = True
    writes: bool = False
    anonymous: bool = False
