"""Measurements, one file a question; not part of the installed package.

    make bench                  all of them, in turn: __main__.py
    make bench-report           docs/performance.md from their results: performance.py

The questions; each file also runs alone, `benchmarks/<name>.py --help`:

    end_to_end.py      rows a second to committed and acked, beside raw COPY
    variants.py        other modes, compression, TLS, no acks, more processes
    encoder.py         the encoder alone, of several shapes of records
    small_messages.py  one event a message, as Docker sends
    fluent_bit.py      Fluent Bit's out_pgsql beside us; needs a fluent-bit
    connections.py     what thousands of idle connections cost
    latency.py         time to the ack against the load
    outage.py          memory and counts while PostgreSQL is away
    growth.py          does ingest slow down as rows pile up, or beside the seal?
    disk.py            bytes on disk of a record
    sink.py            from the ring into PostgreSQL alone; not in the set
    spool.py           the spool's files beside SQLite; not in the set

What they are made of:

    question.py        the frame: options, signals, exit codes, results
    sending.py         options in common: which records, sent in which way
    trial.py           runs of one set of records, by Penstock or by COPY
    records.py         seeded records as packed entries; shapes.py, vocabulary.py
    frames.py          records as messages of the forward protocol
    load.py            a sender, as fast as it goes or at a pace
    persistent.py      senders that outlive an outage
    limit.py           the same rows by psql's copy
    server.py          `penstock serve` as a process
    stage.py           PostgreSQL, SQL, directories, stop signals
    process.py         CPU and memory from /proc
    report.py          JSON and tables
    plot.py            SVG
"""
