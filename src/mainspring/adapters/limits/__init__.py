"""Where rates are counted: in the process, for those who need no more than one."""
