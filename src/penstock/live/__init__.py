"""Rows as they are committed, for whoever looks on: told after COMMIT, never before.

What is stored comes from the flow; who looks on is over HTTP. Neither waits for the
other: what cannot be kept for a reader is dropped, counted, and told to that reader.
"""
