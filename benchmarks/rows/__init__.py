"""One module for each question, with an `async def run(bench)` that gives rows (`core.results`)."""
