"""Final answers: where a text states one, and when two are equal.

Imports no other folder of `curate`. A language in which answers are read goes into `languages`; callers go through `answers`.
"""
