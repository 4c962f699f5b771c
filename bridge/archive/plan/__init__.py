"""What a session's journal says: which packages it becomes, and what each of them shows and contains.

Pure: events go in, plans, scenes and lists come out. Leaves the tracks to `bridge.archive.tracks` and
drawing to `bridge.archive.screen`. Every other room of the archive may import from it.
"""
