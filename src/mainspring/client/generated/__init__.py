"""A module per service and client, made of the declarations by ``make clients``."""
