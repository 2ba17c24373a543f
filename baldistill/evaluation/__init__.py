"""Measuring: how right a student's answers are, and how hard it finds the candidates.

Imports `baldistill.student` alone. A metric registers in `evaluate`.
"""
