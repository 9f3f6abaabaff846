"""The demo: a real conversation on a running stack while parts of it are stopped and killed, then the proof.

`python -m deploy.demo` (`make demo`). It uses the client library as anybody would, breaks things through
`deploy.control`, and believes only `verify`. The second act then plays what people do with messages and one another, on
several devices, and believes only what every device shows and REST says.
"""
