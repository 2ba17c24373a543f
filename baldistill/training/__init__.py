"""Fine-tuning: a snapshot becomes an adapter, and the adapter's folder a record of what it was made from.

Imports `baldistill.student` alone. The trainer of another library would stand beside `sft`, the only importer of TRL.
"""
