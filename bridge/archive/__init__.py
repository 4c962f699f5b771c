"""From what was recorded to what is kept: compose, transcode, package, seal, verify, deliver, retain."""
