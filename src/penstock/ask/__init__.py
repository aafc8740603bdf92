"""Questions about logs, and the guard that every statement of a user's passes."""
