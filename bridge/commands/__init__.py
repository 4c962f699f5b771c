"""What `hoichan` can do beside serving: the archive on the command line."""
