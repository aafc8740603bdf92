"""Penstock: Fluentd's forward protocol in, committed PostgreSQL rows out."""

__version__ = "0.1.0"
