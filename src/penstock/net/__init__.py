"""The asyncio shell towards the senders, and a sender of our own."""
