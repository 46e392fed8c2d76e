"""The store: what must outlive the controller, in SQLite or PostgreSQL.

Desired state, assignments with their epochs, and the bounded record of what happened. What agents report is not in
here: they report it again. All writes go through one thread, many to a transaction; each is awaited until its
transaction is on disk.
"""

from treadle_controller.store.store import Store

__all__ = ["Store"]
