"""Where observations go: kept as sums in the process, for whoever scrapes them."""
