"""What one process finds on its machine: directories, secret, certificate, addresses, garbage collection.

Leaves the order of starting and stopping to `bridge.server`. Only the server and the commands import from it.
"""
