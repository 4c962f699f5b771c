"""What must survive: the journal of each conference, and the catalogue of recordings and packages."""
