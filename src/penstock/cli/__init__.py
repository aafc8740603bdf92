"""The commands people type: parse, call, print. No command holds logic of its own."""
