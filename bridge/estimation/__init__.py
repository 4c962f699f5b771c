"""How much one path carries, told by its sender from feedback on arrivals; and when each packet may go.

Send-side congestion control in the manner of Google congestion control (draft-ietf-rmcat-gcc-02; Carlucci
et al., "Analysis and Design of the Google Congestion Control for WebRTC", MMSys 2016), one idea a file,
pure: `now` is an argument, nothing is sent from here. Others take `Estimator` and `Pacer`; what to show at
that rate they decide.
"""
