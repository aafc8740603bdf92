"""Measurements, one file a question; not part of the installed package.

    end_to_end.py   forward protocol to committed rows, beside raw COPY: `make bench`

What they are made of; the first three also run alone, `python -m benchmarks.<name>`:

    records.py      seeded records as packed entries
    load.py         a forward sender with acks
    limit.py        the same rows by psql's copy
    vocabulary.py   the words records are made of
    stage.py        PostgreSQL and Penstock around a measurement
    report.py       figures as JSON and as a table
"""
