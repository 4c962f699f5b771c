"""The scorecard of bandwidth estimation, in virtual time: the bridge's own code on modelled lines.

`python -m benchmarks.networks` prints it. Lines, queues, losses and the other traffic are models;
estimator, pacer, feedback and the receiver's log are what the bridge runs. Two runs of one seed are equal
to the last bit.
"""
