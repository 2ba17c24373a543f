"""What is asked of a teacher, and how its reply is parsed.

Imports `teachers.base`, `answers`, `audit` and `manifest`; never calls, ledger or balance: it is handed an `Asker`. Prompts are
in `templates/`.
"""
