"""The log: an epoch's topics, the fold that numbers it (`sequencer`), and the ways in and out of it.

`appender` puts records in, `tail` gets them out, `replay` starts a node, `heads` holds checkpoints, `directory` the
channel servers' read model, `epoch` says which topics are in force. What an event means belongs elsewhere.
"""
