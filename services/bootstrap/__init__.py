"""One-shot commands that make an epoch of the log: the first one, and by an operator the next one.

Runs before the services and ends. What is made here is read by `eventlog`; nothing here runs beside them.
"""
