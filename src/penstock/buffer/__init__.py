"""What waits between senders and PostgreSQL: rows in the ring, acks in order. Pure."""
