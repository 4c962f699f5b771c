"""RTP and RTCP bytes to meaning and back: pure, no clock, no I/O."""
