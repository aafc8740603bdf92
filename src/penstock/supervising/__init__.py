"""Several workers under one parent: their places, their lives, what they tell it.

The parent binds what they listen on, starts them, starts the fallen again and stops
them all; each worker is a process with a `Flow` of its own. It must not know what an
event is.
"""
