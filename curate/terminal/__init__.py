"""Commands and screens of the `curate` command.

Imports everything; nothing outside this folder imports it, except the terminal modules of `baldistill`. A result's layout goes
into `layouts`.
"""
