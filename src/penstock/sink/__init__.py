"""The asyncio shell towards PostgreSQL: batches from the ring into committed rows."""
