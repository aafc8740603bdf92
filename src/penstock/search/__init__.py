"""The search language: from what is typed to SQL, and the rows that it finds.

`filters` is what a filter is and means, `language` reads and prints it, `regex` is what
of regular expressions it takes, `times` are windows of time, `compile` says a filter in
SQL, `statements` are whole queries. All of it is pure but `pages`, which runs them.
"""
