"""What everybody may use and nobody owns: errors, closed sets of words, counters, rates, and message shapes.

Leaves to others whatever knows a packet, a room or a file. Any module may import from its files.
"""
