"""What the card of a data set says: its facts, its text, its metadata, and what of an earlier card stays.

`facts` reads a manifest and its ledger once; everything else here makes texts of these facts. `curate.export.card` is the door.
"""
