"""Rows of a window and a filter, all of them, into a file or a stream.

    paging.py     the rows in time's order, a page at a time
    forms.py      a page as CSV or JSON lines
    parquet.py    pages as Parquet (pyarrow, an extra)
    progress.py   how far an export is, kept on disk beside what it has written
    target.py     where it goes: stdout, or a file that is whole when it has its name

Memory does not grow with the number of rows. It must not print, nor know the command
line.
"""
