"""Paid calls: a teacher asked through the ledger, live or in batches, and the forecast of what that will cost.

Imports `ledger` and `teachers`; never generation, audit or balance. A new way of sending requests is a module beside `live`
and `batch`.
"""
