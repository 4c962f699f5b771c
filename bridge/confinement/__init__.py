"""What a process may still do that reads media from strangers: the kernel refuses it everything else.

`processes` starts such a process and is the one entry; `landlock` closes the files and the network, `seccomp`
the system calls, both once and for all. What these processes do is for others to say.
"""
