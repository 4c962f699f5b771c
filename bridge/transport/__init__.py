"""The media port: UDP and TCP, ICE-lite, DTLS, SRTP and the fan-out to many receivers."""
