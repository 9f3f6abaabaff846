"""The mark-up of messages: a subset of CommonMark and tokens that name people. Pure; docs/markup.md describes it.

`parser` configures the parser (markdown-it-py), `tree` makes the typed tree of a text, `mentions` says whom it
addresses.
"""
