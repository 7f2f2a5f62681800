"""The REST interface: HTTP in, the gateway's stages, problem details or JSON out."""
