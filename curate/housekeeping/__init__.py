"""Keeps house among manifests: lists, renames and deletes whole ones, and takes back what was done to one.

Imports `manifest`, `ledger` for what a name was charged, and `report` for the run records that name a manifest. Asks no teacher
and judges no row.
"""
