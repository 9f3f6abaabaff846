"""The checkpointer: folds the log some way behind its end and writes down where a starting node can begin.

It also deletes what of the log nobody needs any more (`retention`). One runs at a time; a second one takes over,
and the first ends.
"""
