"""Files and data sets become tables that hold each value as it is written: discovery, compression, JSON, CSV, Parquet.

Knows no example and no manifest but the names of splits. A reader for a new file type is called in `open`.
"""
