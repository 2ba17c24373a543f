"""Tables become rows of a manifest: shapes of records, expressions, labels of sources, `curate ingest`.

Imports `readers` and `manifest`; never vectors, teachers or anything that comes after them. A new shape goes into `shapes`.
"""
