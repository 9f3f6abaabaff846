"""What a person has read: markers of channels and threads, and which threads they follow.

The facts are notices in the log, addressed to the person's own devices; the persister keeps the tables.
"""
