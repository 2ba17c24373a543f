"""Reads a version and shows it: `curate profile`, `explain`, `ledger`, and plots.

Imports `manifest` and what was recorded about it; never balance or selection. Writes no row's status.
"""
