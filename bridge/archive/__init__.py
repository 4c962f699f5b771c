"""From what was recorded to what is kept: this folder is the ground that its eight rooms stand on.

`model` has the values they hand to each other, `calendar`, `folders` and `retention` the days, places and
periods that all of them mean. Whoever is outside imports from a room, and from here what is not any room's
own.
"""
