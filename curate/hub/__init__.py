"""Talks to the Hugging Face Hub: the login, addresses, what it refuses; and pushes folders to its repositories.

Imports `cards` and `manifest`; knows no exporter and no reader.
"""
