"""Writing what is recorded so that no crash, full disk or power cut takes more than the last moment."""
