"""What the adapters on Redis or Valkey share: where it is, and connections that are kept up."""
