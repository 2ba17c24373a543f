"""A student leaves: its answers shown to a person, its weights merged, with a card, into a folder or to the Hub.

Imports `baldistill.student` alone; trains and measures nothing. What a run left is found by `trained`.
"""
