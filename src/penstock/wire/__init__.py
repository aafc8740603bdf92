"""Bytes of the forward protocol in, typed messages out. Pure: no clock, no socket.

`frames` finds where each top-level msgpack value ends, `messages` says what it
is, `values` reads single msgpack values, `compression` inflates, bounded.
"""
