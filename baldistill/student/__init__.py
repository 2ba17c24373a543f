"""A student: loaded, its rows rendered as tokens, its answers generated and its losses measured.

Never imports the other folders of `baldistill`. How a row is rendered is in `tokens`, for training, asking and scoring alike.
"""
