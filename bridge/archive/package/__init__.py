"""The package: a BagIt bag with its documents and its seal, written once and verified as often as anybody
likes.

Leaves making its video to `bridge.archive.film` and its copies to `bridge.archive.keeping`. What has a
package before it imports `bag`, `seal` and `verify`; what is there before one imports only who makes it.
"""
