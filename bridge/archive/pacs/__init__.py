"""The way of a package into a hospital's PACS: DICOM objects, sent by STOW-RS or C-STORE and read back.

Leaves when it is tried again to `bridge.archive.work` and what the objects are made of to
`bridge.archive.package`. `bridge.archive.work` imports `delivery`; `bridge.archive.keeping` reads in
`dicom` what was sent.
"""
