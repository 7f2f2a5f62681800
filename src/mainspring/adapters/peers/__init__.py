"""Who a process is to its peers: certificates, their authority, and the files they lie in."""
