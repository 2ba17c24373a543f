"""Whole runs: a plan is read and checked, its stages are done in one loop, and runs are put side by side.

Imports every folder of `baldistill`; only the terminal imports it.
"""
