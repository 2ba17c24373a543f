"""Files and data sets become rows: discovery, reading, columns, `curate ingest`.

Imports `manifest`; never vectors, teachers or anything that comes after them. A reader for a new file type goes into `readers`.
"""
