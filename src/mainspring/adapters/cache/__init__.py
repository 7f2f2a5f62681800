"""Where answers are kept for a while: in the process, for those who need no more than one."""
