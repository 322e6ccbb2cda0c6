"""Everything that is kept: SQLAlchemy Core on SQLite or Postgres, and the only SQL of the program.

One file per noun. Each function takes a `Transaction` first and answers objects of the schema; `database.Database` is
the only way to get a transaction.
"""

from millrace import stand_ins as stand_ins
