"""What stands between the two tiers and belongs to neither.

The words they share (`contract`), the log (`eventlog`), the schema (`database`), what every process needs
(`runtime`), and the workers on the log (`persister`, `relay`, `checkpointer`). Nothing here may import
`web_app` or `channel_server`.
"""
