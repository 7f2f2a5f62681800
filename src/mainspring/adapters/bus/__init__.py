"""Buses other than the log of the database: brokers that consumers elsewhere can read as well."""
