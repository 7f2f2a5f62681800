"""What logs people in for other applications (OpenID Connect): pages, requests, clients, keys."""
