"""How fast it is, each figure against a floor or a rival measured in the same run: `make bench` (docs/performance.md).

`core` is what all benchmarks share, `rows` has one module for each question, `floors` and `native` what they are
compared with, `results` what was measured. Nothing here is a test: what must not get slower is guarded by counting
work, in tests/.
"""
