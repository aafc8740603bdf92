"""Questions in plain language, measured: how many get the rows that they ask for.

data.py       the logs that are asked about, the same each time
catalog.py    the questions, with the SQL that answers each (questions/*.txt)
scoring.py    when two results are the same
recorded.py   answers without a model: right, wrong, broken and hostile ones
running.py    asks them all, against PostgreSQL
__main__.py   the command: `make bench-ask`
"""
