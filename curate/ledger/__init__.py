"""What was asked of teachers, answered and charged, in SQLite.

Imports `teachers` for its types and prices; never a teacher's client, `calls` or `manifest`. A new table or column goes into
`schema`.
"""
