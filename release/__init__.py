"""What is done at a release: the bill of materials. Not installed, and imported by nothing of the bridge."""
