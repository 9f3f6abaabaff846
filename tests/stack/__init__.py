"""Real servers and processes for tests: a broker, a database server, the product's processes, a bad network.

How a server is prepared and started is `deploy.local`'s; here it is owned by a test, on free ports, in a temporary
folder, and gone afterwards. tests/system/conftest.py makes fixtures of it.
"""
