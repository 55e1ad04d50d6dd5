"""Checking published records: are they consistent, and does this code compute them again?

`python -m plainres.verify`, or `make verify`, runs these checks. Nothing else imports this package.
"""
